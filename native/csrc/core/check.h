/* The parts of the loader's check; see load.c for their order. */

#ifndef WHERRY_CORE_CHECK_H
#define WHERRY_CORE_CHECK_H

#include "wherry/engine.h"

/* The fields of node `index` against its tensors: operator, rounding, shapes, parameters and the
 * contents of multipliers and shifts. Its links must have been checked. */
WH_MUST_CHECK int wh_check_node(const wh_program *program, uint32_t index);

/* Who reads and writes what, when, and where: inputs, outputs, states, order, sharing of memory. */
WH_MUST_CHECK int wh_check_graph(const wh_program *program, wh_location *where);

#endif
