/* The vectors as they are in the file WH_VECTORS_FILE, in read-only memory, aligned for images. */

#if defined(__arm__)
    .section .vectors_of_models, "a", %progbits
#else
    .section .rodata
#endif
    .global wh_vectors
    .balign 16
wh_vectors:
    .incbin WH_VECTORS_FILE
#if defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
