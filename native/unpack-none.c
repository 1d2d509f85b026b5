/* Stands in where unpack.c is left out of a build (fuzzers of other parts). */
#include "unpack.h"

#include <errno.h>

__attribute__((weak)) int64_t keel_unpack(int from, int root, uint32_t flags, struct keel_error *error)
{
	(void)from;
	(void)root;
	(void)flags;
	error->text[0] = 0;
	return -ENOSYS;
}
