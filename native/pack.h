/* Packing of a directory tree into a tar stream; the `pack` operation of a plan. */
#ifndef KEEL_PACK_H
#define KEEL_PACK_H

#include <stdint.h>

#include "archive.h"

/* The same numbers in src/image/archive-flags.ts. */
enum keel_pack_flags {
	/* The tree is an upper directory of overlayfs: its marks become whiteouts (`.wh.x`, `.wh..wh..opq`). Needs CAP_SYS_ADMIN. */
	KEEL_PACK_OVERLAY = 1,
	/* Headers only: sizes are told, data does not follow. No extended attributes either. */
	KEEL_PACK_HEADERS = 2,
	/* What is mounted in the tree is left out; the directories beneath the mounts are there, empty. */
	KEEL_PACK_ONE_FILE_SYSTEM = 4,
	/* Everything belongs to 0:0. */
	KEEL_PACK_ROOT_OWNS = 8,
};

/*
 * Writes the file or directory `path` beneath `root`, with all that is in it, to `to` as a tar archive (ustar, with PAX headers where
 * needed), without its end: archives may follow one another. It is called `name` in there; with an empty name only what is in the directory
 * is packed. Symbolic links are never followed, also if others change the tree meanwhile; what vanishes is left out. Whiteouts come first in
 * their directory, the rest is in the order of bytes. Sockets are left out.
 * Returns the bytes written, or -errno with `error` filled in.
 */
int64_t keel_pack(int root, const char *path, const char *name, int to, uint32_t flags, struct keel_error *error);

#endif
