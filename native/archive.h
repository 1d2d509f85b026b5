/* What packing and unpacking share: their errors, the resolution of names beneath a root, and what an archive may say of a file. */
#ifndef KEEL_ARCHIVE_H
#define KEEL_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

/* What went wrong, besides the errno that the function returns: "a/b: link leaves the root". */
struct keel_error {
	char text[480];
};

/*
 * Fills in the text: "name: what: strerror", without the last for EBADMSG, where `what` says it all. Control characters are replaced, a long
 * name is cut at its front. Returns -error.
 */
__attribute__((format(printf, 4, 5))) int archive_fail(struct keel_error *out, int error, const char *name, const char *format, ...);

/*
 * openat2(root, path) with O_CLOEXEC, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS and `resolve`; the empty path is the root. Tries again while others
 * rename directories. The descriptor, or -errno.
 */
int archive_open(int root, const char *path, uint64_t flags, uint64_t resolve);

/* File capabilities and the users' own attributes; never overlayfs' marks, which say what of the layers below is seen. */
bool archive_keeps_xattr(const char *name);

#endif
