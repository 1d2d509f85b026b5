/* Unpacking of a tar stream beneath a directory; the `unpack` operation of a plan. */
#ifndef KEEL_UNPACK_H
#define KEEL_UNPACK_H

#include <stdint.h>

#include "archive.h"

/* The same numbers in src/image/archive-flags.ts. */
enum keel_unpack_flags {
	/* What an entry `.wh.x` or `.wh..wh..opq` (OCI image-spec, layer.md, "Whiteouts") means; with none of these it is a file. */
	KEEL_UNPACK_OVERLAY = 1, /* becomes overlayfs' own mark */
	KEEL_UNPACK_DELETE = 2,  /* removes what is there at that moment */
	/* Marks of overlayfs mounted with `userxattr`: user.overlay.* in place of trusted.overlay.*. */
	KEEL_UNPACK_USERXATTR = 4,
	/* An owner that may not be set, or is not mapped, is left as it is. */
	KEEL_UNPACK_ANY_OWNER = 8,
	/* A device node that may not be made is left out. */
	KEEL_UNPACK_SKIP_DEVICES = 16,
	/* Owners are left as the file system makes them. */
	KEEL_UNPACK_NO_OWNER = 32,
	/* A directory never takes the place of something else, nor the reverse. */
	KEEL_UNPACK_KEEP_KIND = 64,
	/* At the end of the stream the answer is sent on `from`, a socket. See keel_unpack. */
	KEEL_UNPACK_ANSWER = 128,
};

/*
 * Reads the tar stream `from` to its end and makes its entries beneath the directory `root`, whatever the stream says: every name
 * is resolved with openat2(RESOLVE_IN_ROOT). Symbolic links among the directories of a name are followed inside the root, the last
 * component never is. The last entry of a name counts. Changes the umask for its time.
 * Returns the bytes of the stream consumed, or -errno with `error` filled in (EBADMSG: the archive is at fault).
 *
 * The answer: records that end with a NUL. "i<path>": directory that no entry told of, made 0755 and owned by the caller.
 * "o<path>": directory that is opaque, whether it could be marked or the privilege for trusted.* was wanting; the empty path is the root,
 * for which no mark exists. Last "s<entries> <bytes of files> <devices left out> <extended attributes left out>".
 */
int64_t keel_unpack(int from, int root, uint32_t flags, struct keel_error *error);

#endif
