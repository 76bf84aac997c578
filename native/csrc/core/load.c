/* The loader: every field of an image is checked once, so that running checks nothing.
 *
 * In order: header, pieces, names, tensors, links, each node by itself, then the graph. Each step
 * relies on the ones before. */

#include "call.h"
#include "check.h"

/* Below 2^31, so that no sum of an offset and a size wraps. */
#define SIZE_MAX_BYTES 0x7FFFFFF0u

/* Images are little-endian and used where they lie. Compilers fold this to a constant. */
static int is_little_endian(void)
{
    const uint16_t one = 1;
    return *(const uint8_t *)&one == 1;
}

static uint64_t tables_end(const wh_program_header *h)
{
    return sizeof *h + (uint64_t)h->tensor_count * sizeof(wh_tensor) +
           (uint64_t)h->node_count * sizeof(wh_node) + (uint64_t)h->piece_count * sizeof(wh_piece) +
           (uint64_t)h->link_count * sizeof(uint16_t) + h->names_size;
}

static int is_aligned(uint32_t value)
{
    return value % WH_ALIGNMENT == 0;
}

static int check_versions(const wh_program_header *h)
{
    for (size_t i = 0; i < sizeof h->magic; i++) {
        if (h->magic[i] != (uint8_t)WH_PROGRAM_MAGIC[i]) {
            return WH_ERR_MAGIC;
        }
    }
    if (h->format_version != WH_PROGRAM_FORMAT) {
        return WH_ERR_FORMAT_VERSION;
    }
    int is_known = h->engine_abi >= WH_ENGINE_ABI_MIN && h->engine_abi <= WH_ENGINE_ABI;
    return is_known ? WH_OK : WH_ERR_ENGINE_ABI;
}

static int check_header(const wh_program_header *h, size_t image_size)
{
    int status = check_versions(h);
    if (status != WH_OK) {
        return status;
    }
    if (h->image_size != image_size || tables_end(h) > h->structure_size) {
        return WH_ERR_TRUNCATED;
    }
    uint32_t ends = (uint32_t)h->input_count + h->output_count + h->state_count;
    int is_sound = is_aligned(h->image_size) && is_aligned(h->structure_size) &&
                   is_aligned(h->arena_size) && h->arena_size <= SIZE_MAX_BYTES &&
                   h->structure_size <= h->image_size && h->structure_size - tables_end(h) < 16 &&
                   h->tensor_count <= WH_TENSORS_MAX && h->node_count <= WH_NODES_MAX &&
                   h->piece_count >= 1 && h->input_count >= 1 && h->output_count >= 1 &&
                   ends <= h->link_count && h->names_size >= 1 && h->reserved[0] == 0 &&
                   h->reserved[1] == 0;
    return is_sound ? WH_OK : WH_ERR_HEADER;
}

static void find_tables(wh_program *p, const uint8_t *image)
{
    const wh_program_header *h = (const void *)image;
    p->image = image;
    p->header = h;
    p->tensors = (const void *)(h + 1);
    p->nodes = (const void *)(p->tensors + h->tensor_count);
    p->pieces = (const void *)(p->nodes + h->node_count);
    p->links = (const void *)(p->pieces + h->piece_count);
    p->names = (const void *)(p->links + h->link_count);
    p->kernels = wh_portable_kernels();
    p->steps = NULL;
    p->scratch_offset = h->arena_size;
    p->arena_size = h->arena_size;
}

static int is_name(const wh_program *p, uint32_t offset)
{
    return offset < p->header->names_size;
}

static int check_names(const wh_program *p)
{
    const wh_program_header *h = p->header;
    int is_sound = p->names[h->names_size - 1] == '\0' && is_name(p, h->name);
    const char *end = (const char *)p->image + h->structure_size;
    for (const char *padding = p->names + h->names_size; padding < end; padding++) {
        is_sound = is_sound && *padding == 0;
    }
    return is_sound ? WH_OK : WH_ERR_NAME;
}

static int check_pieces(const wh_program *p, wh_location *where)
{
    uint32_t position = 0;
    for (uint32_t i = 0; i < p->header->piece_count; i++) {
        const wh_piece *piece = &p->pieces[i];
        *where = (wh_location){WH_PART_PIECE, i};
        uint32_t least = i == 0 ? p->header->structure_size : WH_ALIGNMENT;
        uint32_t room = p->header->image_size - position;
        if (piece->offset != position || piece->size < least || piece->size > room ||
            !is_aligned(piece->size) || piece->reserved != 0 ||
            (i == 0 && piece->size != least)) {
            return WH_ERR_PIECE;
        }
        if (!is_name(p, piece->name)) {
            return WH_ERR_NAME;
        }
        position += piece->size;
    }
    return position == p->header->image_size ? WH_OK : WH_ERR_PIECE;
}

/* Bytes of a tensor by its dims, or 0 where they make no sense. */
static uint32_t size_by_dims(const wh_tensor *t)
{
    uint64_t size = (uint64_t)1 << (t->dtype - WH_INT8);
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        if ((t->dims[i] == 0) != (i >= t->rank)) {
            return 0;
        }
        size *= i < t->rank ? t->dims[i] : 1;
        if (size > SIZE_MAX_BYTES) {
            return 0;
        }
    }
    return (uint32_t)size;
}

static int check_place(const wh_program *p, const wh_tensor *t)
{
    uint32_t first = t->kind == WH_CONSTANT ? p->header->structure_size : 0;
    uint32_t end = t->kind == WH_CONSTANT ? p->header->image_size : p->header->arena_size;
    return is_aligned(t->offset) && t->offset >= first && t->offset <= end &&
           t->size <= end - t->offset;
}

static int check_quantization(const wh_tensor *t)
{
    int32_t limit = t->dtype == WH_INT8 ? 128 : t->dtype == WH_INT16 ? 32768 : 0;
    int is_finite_and_positive = t->scale_bits < 0x7F800000u;
    return t->zero_point >= -limit && t->zero_point < (limit == 0 ? 1 : limit) &&
           is_finite_and_positive;
}

static int check_tensors(const wh_program *p, wh_location *where)
{
    uint8_t newest = p->header->engine_abi == 1 ? WH_INT32 : WH_INT64;
    for (uint32_t i = 0; i < p->header->tensor_count; i++) {
        const wh_tensor *t = &p->tensors[i];
        *where = (wh_location){WH_PART_TENSOR, i};
        int is_known = t->dtype >= WH_INT8 && t->dtype <= newest && t->rank <= WH_RANK_MAX &&
                       t->kind >= WH_ARENA && t->kind <= WH_STATE && t->reserved0 == 0 &&
                       t->reserved1 == 0;
        if (!is_known || t->size == 0 || t->size != size_by_dims(t) || !check_place(p, t) ||
            !check_quantization(t)) {
            return WH_ERR_TENSOR;
        }
        if (!is_name(p, t->name)) {
            return WH_ERR_NAME;
        }
    }
    return WH_OK;
}

static int check_links(const wh_program *p, wh_location *where)
{
    for (uint32_t i = 0; i < p->header->link_count; i++) {
        if (p->links[i] >= p->header->tensor_count) {
            *where = (wh_location){WH_PART_LINK, i};
            return WH_ERR_LINK;
        }
    }
    for (uint32_t i = 0; i < p->header->node_count; i++) {
        const wh_node *n = &p->nodes[i];
        *where = (wh_location){WH_PART_NODE, i};
        if (n->operand_count > WH_OPERANDS_MAX || n->operand_first > p->header->link_count ||
            n->operand_count > p->header->link_count - n->operand_first ||
            n->output >= p->header->tensor_count) {
            return WH_ERR_LINK;
        }
        if (!is_name(p, n->name)) {
            return WH_ERR_NAME;
        }
    }
    return WH_OK;
}

static int check_nodes(const wh_program *p, wh_location *where)
{
    for (uint32_t i = 0; i < p->header->node_count; i++) {
        *where = (wh_location){WH_PART_NODE, i};
        int status = wh_check_node(p, i);
        if (status != WH_OK) {
            return status;
        }
    }
    return WH_OK;
}

static int check_tables(const wh_program *p, wh_location *where)
{
    int (*const steps[])(const wh_program *, wh_location *) = {
        check_pieces, check_tensors, check_links, check_nodes, wh_check_graph,
    };
    *where = (wh_location){WH_PART_HEADER, 0};
    int status = check_names(p);
    for (size_t i = 0; status == WH_OK && i < sizeof steps / sizeof steps[0]; i++) {
        status = steps[i](p, where);
    }
    return status;
}

int wh_program_load(wh_program *program, const void *image, size_t image_size, wh_location *where)
{
    wh_location unwanted;
    wh_location *place = where != NULL ? where : &unwanted;
    *place = (wh_location){WH_PART_IMAGE, 0};
    if (program == NULL || image == NULL || (uintptr_t)image % WH_ALIGNMENT != 0) {
        return WH_ERR_ARGUMENT;
    }
    if (!is_little_endian()) {
        return WH_ERR_BYTE_ORDER;
    }
    if (image_size < sizeof(wh_program_header) || image_size > SIZE_MAX_BYTES) {
        return WH_ERR_TRUNCATED;
    }
    *place = (wh_location){WH_PART_HEADER, 0};
    int status = check_header(image, image_size);
    if (status != WH_OK) {
        return status;
    }
    find_tables(program, image);
    return check_tables(program, place);
}
