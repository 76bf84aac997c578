/* The module `wherry_protocol._frozen`: fills frozen, slotted values, and copies them with some
 * fields changed.
 *
 * Rules:
 * 1. `replace` gives what `wherry_protocol.replacing.replace_plainly` gives for the same value.
 * 2. A class is described once, by what is asked of its own descriptors: they are let fill a value
 *    that nobody else has, and the words that change are where its fields lie. A class with more in
 *    it than its fields is refused.
 * 3. Nobody sees a copy before its last field is set, and what has a field is not filled again.
 *
 * Python's stable ABI, 3.11 and later.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000

#include <Python.h>

#include <stddef.h>

#define SHAPE_NAME "wherry_protocol._frozen.shape"

typedef struct {
    PyObject *name;                          /* interned; NULL until it is described */
    size_t word;                             /* where it lies, counted from a value's head */
} field;

/* The fields of a class, as they are declared. */
typedef struct {
    allocfunc allocate;
    size_t count;
    field fields[];
} shape;

typedef struct {
    PyObject *shapes;                        /* class -> capsule of its shape */
    PyObject *describe;                      /* called with a class that is not among them */
} state;

static PyObject **words_of(PyObject *value)
{
    return (PyObject **)(void *)((char *)value + sizeof(PyObject));
}

static void drop_shape(PyObject *capsule)
{
    shape *s = PyCapsule_GetPointer(capsule, SHAPE_NAME);
    if (s != NULL) {
        for (size_t i = 0; i < s->count; i++) {
            Py_XDECREF(s->fields[i].name);
        }
        PyMem_Free(s);
    }
}

/* --- describing a class */

/* How many words a value of the class has after its head; -1 with an exception. */
static Py_ssize_t word_count(PyObject *cls)
{
    PyObject *found = PyObject_GetAttrString(cls, "__basicsize__");
    if (found == NULL) {
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(found);
    Py_DECREF(found);
    return size < 0 ? -1 : (size - (Py_ssize_t)sizeof(PyObject)) / (Py_ssize_t)sizeof(PyObject *);
}

static int is_taken(const shape *s, size_t word)
{
    for (size_t i = 0; i < s->count && s->fields[i].name != NULL; i++) {
        if (s->fields[i].word == word) {
            return 1;
        }
    }
    return 0;
}

/* Let the next field's descriptor set it, and see which word that was. */
static int find_field(shape *s, size_t next, PyObject *probe, PyObject *name, PyObject *slot)
{
    descrsetfunc set = (descrsetfunc)PyType_GetSlot(Py_TYPE(slot), Py_tp_descr_set);
    if (set == NULL) {
        PyErr_SetString(PyExc_TypeError, "a slot must be a data descriptor");
        return -1;
    }
    if (set(slot, probe, Py_None) < 0) {
        return -1;
    }
    for (size_t word = 0; word < s->count; word++) {
        if (words_of(probe)[word] == Py_None && !is_taken(s, word)) {
            Py_INCREF(name);
            PyUnicode_InternInPlace(&name);
            s->fields[next] = (field){name, word};
            return 0;
        }
    }
    PyErr_SetString(PyExc_TypeError, "a field is not among the words of its value");
    return -1;
}

/* The class's shape, of (name, descriptor) of every field. */
static PyObject *learn(PyTypeObject *cls, PyObject *fields)
{
    Py_ssize_t words = word_count((PyObject *)cls);
    if (words < 0) {
        return NULL;
    }
    if (words != PyTuple_Size(fields)) {
        PyErr_SetString(PyExc_TypeError, "a class must hold its fields and nothing else");
        return NULL;
    }
    shape *s = PyMem_Calloc(1, sizeof *s + (size_t)words * sizeof s->fields[0]);
    if (s == NULL) {
        return PyErr_NoMemory();
    }
    s->allocate = (allocfunc)PyType_GetSlot(cls, Py_tp_alloc);
    s->count = (size_t)words;
    PyObject *capsule = PyCapsule_New(s, SHAPE_NAME, drop_shape);
    if (capsule == NULL) {
        PyMem_Free(s);
        return NULL;
    }
    PyObject *probe = s->allocate(cls, 0);
    int status = probe == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && i < words; i++) {
        PyObject *name = NULL;
        PyObject *slot = NULL;
        status = PyArg_ParseTuple(PyTuple_GetItem(fields, i), "UO", &name, &slot) ? 0 : -1;
        if (status == 0) {
            status = find_field(s, (size_t)i, probe, name, slot);
        }
    }
    Py_XDECREF(probe);
    if (status < 0) {
        Py_DECREF(capsule);
        return NULL;
    }
    return capsule;
}

/* The shape of a class at its first use; borrowed. */
static shape *describe(state *our, PyTypeObject *cls)
{
    if (our->describe == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "nobody describes classes");
        return NULL;
    }
    PyObject *fields = PyObject_CallFunctionObjArgs(our->describe, cls, NULL);
    if (fields == NULL) {
        return NULL;
    }
    PyObject *capsule = NULL;
    if (PyTuple_Check(fields)) {
        capsule = learn(cls, fields);
    } else {
        PyErr_SetString(PyExc_TypeError, "a class is described by a tuple of its fields");
    }
    Py_DECREF(fields);
    if (capsule == NULL) {
        return NULL;
    }
    int status = PyDict_SetItem(our->shapes, (PyObject *)cls, capsule);
    Py_DECREF(capsule);                      /* the dict holds it */
    return status < 0 ? NULL : PyCapsule_GetPointer(capsule, SHAPE_NAME);
}

/* --- filling and copying */

static shape *shape_of(state *our, PyTypeObject *cls)
{
    PyObject *capsule = PyDict_GetItemWithError(our->shapes, (PyObject *)cls);
    if (capsule != NULL) {
        return PyCapsule_GetPointer(capsule, SHAPE_NAME);
    }
    return PyErr_Occurred() ? NULL : describe(our, cls);
}

/* Names of arguments are interned, as ours are, but for those of a dict that somebody has made. */
static const field *field_of(const shape *s, PyObject *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->fields[i].name == name) {
            return &s->fields[i];
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        if (PyUnicode_Compare(s->fields[i].name, name) == 0) {
            return &s->fields[i];
        }
    }
    return NULL;
}

static int change(const shape *s, PyObject *made, PyObject *name, PyObject *value)
{
    const field *found = field_of(s, name);
    if (found == NULL) {
        PyErr_Format(PyExc_AttributeError, "%R has no field %R", (PyObject *)Py_TYPE(made), name);
        return -1;
    }
    PyObject *before = words_of(made)[found->word];
    Py_INCREF(value);
    words_of(made)[found->word] = value;
    Py_XDECREF(before);
    return 0;
}

/* (value, its fields as they are declared): all of them at once, and only where none is there. */
static PyObject *fill(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    state *our = PyModule_GetState(module);
    shape *s = our == NULL || count < 1 ? NULL : shape_of(our, Py_TYPE(given[0]));
    if (s == NULL || s->count != (size_t)count - 1) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "fill takes a value and each of its fields");
        }
        return NULL;
    }
    PyObject **words = words_of(given[0]);
    for (size_t i = 0; i < s->count; i++) {
        if (words[i] != NULL) {
            PyErr_SetString(PyExc_AttributeError, "a frozen value is not filled again");
            return NULL;
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        Py_INCREF(given[1 + i]);
        words[s->fields[i].word] = given[1 + i];
    }
    Py_RETURN_NONE;
}

static PyObject *replace(PyObject *module, PyObject *const *given, Py_ssize_t count,
                         PyObject *names)
{
    state *our = PyModule_GetState(module);
    if (our == NULL || count != 1) {
        PyErr_SetString(PyExc_TypeError, "replace takes one value, and its changes by name");
        return NULL;
    }
    PyTypeObject *cls = Py_TYPE(given[0]);
    shape *s = shape_of(our, cls);
    PyObject *made = s == NULL ? NULL : s->allocate(cls, 0);
    if (made == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < s->count; i++) {
        PyObject *kept = words_of(given[0])[i];
        Py_XINCREF(kept);
        words_of(made)[i] = kept;
    }
    Py_ssize_t changes = names == NULL ? 0 : PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < changes; i++) {
        if (change(s, made, PyTuple_GetItem(names, i), given[1 + i]) < 0) {
            Py_DECREF(made);
            return NULL;
        }
    }
    return made;
}

static PyObject *describe_by(PyObject *module, PyObject *function)
{
    state *our = PyModule_GetState(module);
    if (our == NULL) {
        return NULL;
    }
    PyObject *before = our->describe;
    Py_INCREF(function);
    our->describe = function;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

/* --- the module */

static int fill_module(PyObject *module)
{
    state *our = PyModule_GetState(module);
    our->shapes = PyDict_New();
    return our->shapes == NULL ? -1 : 0;
}

static int visit_module(PyObject *module, visitproc visit, void *arg)
{
    state *our = PyModule_GetState(module);
    Py_VISIT(our->shapes);
    Py_VISIT(our->describe);
    return 0;
}

static int clear_module(PyObject *module)
{
    state *our = PyModule_GetState(module);
    Py_CLEAR(our->shapes);
    Py_CLEAR(our->describe);
    return 0;
}

static PyMethodDef functions[] = {
    {"replace", (PyCFunction)(void (*)(void))replace, METH_FASTCALL | METH_KEYWORDS,
     "The value with these fields changed."},
    {"fill", (PyCFunction)(void (*)(void))fill, METH_FASTCALL,
     "Gives a value that is empty all its fields, as they are declared."},
    {"describe_by", describe_by, METH_O,
     "Takes a function from a class to (name, descriptor) of every field of it."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)fill_module},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wherry_protocol._frozen",
    .m_doc = "Makes and copies frozen, slotted values.",
    .m_size = sizeof(state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = visit_module,
    .m_clear = clear_module,
};

PyMODINIT_FUNC PyInit__frozen(void);

PyMODINIT_FUNC PyInit__frozen(void)
{
    return PyModuleDef_Init(&module_definition);
}
