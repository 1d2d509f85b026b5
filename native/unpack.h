/* Unpacking of a tar stream beneath a directory; the `unpack` operation of a plan. */
#ifndef KEEL_UNPACK_H
#define KEEL_UNPACK_H

#include <stdint.h>

/* What went wrong, besides the errno that the function returns: "a/b: link leaves the root". */
struct keel_error {
	char text[480];
};

/*
 * Reads the tar stream `from` to its end and makes its entries beneath the directory `root`.
 * Returns the bytes of the stream consumed, or -errno with `error` filled in.
 */
int64_t keel_unpack(int from, int root, uint32_t flags, struct keel_error *error);

#endif
