/* What the files of the tar reader share: tar.c reads blocks and headers, tar-extended.c extended headers and maps of sparse files. */
#ifndef KEEL_TAR_INSIDE_H
#define KEEL_TAR_INSIDE_H

#include <stdbool.h>

#include "tar.h"

enum {
	BLOCK = 512,
#ifdef KEEL_FUZZ
	BUFFER = 1 << 12, /* cheaper to poison */
#else
	BUFFER = 1 << 20,
#endif
	MAX_META = 1 << 20, /* extended headers and long names of one entry; as Go's reader */
	MAX_GLOBAL = 1 << 14, /* they are read again for every entry */
	MAX_EXTENTS = 1 << 20,
	MAX_XATTRS = 1024,
};

/* Bytes that grow; `data` always has room for a NUL after `size`. */
struct bytes {
	char *data;
	size_t size, capacity;
};

struct tar {
	tar_reader *reader;
	void *context;
	uint8_t *buffer;
	size_t at, end;     /* what is in `buffer` and not used yet */
	uint64_t offset;    /* of buffer[at] in the stream */
	uint64_t data_left; /* of the current entry */
	size_t padding;     /* after it */
	bool at_end;        /* of the stream */

	struct bytes global, global_copy, meta, long_name, long_link;
	struct tar_xattr *xattrs;
	size_t xattr_count;
	struct tar_extent *extents;
	size_t extent_count, extent_capacity;
	bool half_extent; /* GNU.sparse.offset came, its numbytes not yet */

	bool has_size, sparse, sparse_1, sparse_name;
	uint64_t pax_size, real_size;
	char name[257], link[101];
	char message[200];
};

/* Keeps what is wrong for tar_message; returns -EBADMSG. */
__attribute__((format(printf, 2, 3))) int tar_bad(struct tar *tar, const char *format, ...);
int tar_truncated(struct tar *tar);

/* The next 512 bytes, in place. NULL with *error 0 at the end of the stream, before a block. */
const uint8_t *tar_block(struct tar *tar, int *error);
/* Up to `most` bytes of the entry's data, in place: their number, 0 at its end, or -errno. */
ssize_t tar_take(struct tar *tar, uint64_t most, const uint8_t **piece);
int tar_skip(struct tar *tar, uint64_t bytes);
/* A numeric header field: octal between blanks, or base-256 (GNU, star). */
bool tar_field_number(const uint8_t *f, size_t size, int64_t *out);
bool tar_id_of(int64_t value, uint32_t *out);

/* Lays extended headers over an entry's fields. Puts NULs behind keys and values. */
int tar_extend(struct tar *tar, struct tar_entry *entry, struct bytes *records);
/* Old GNU format: four pieces in the header, 21 in each following block while the block says so. */
int tar_sparse_map_old(struct tar *tar, const uint8_t *header);
/* Format 1.0: the map begins the data. */
int tar_sparse_map_1_0(struct tar *tar);
/* The pieces are in order, within the file, and add up to the data. */
int tar_check_extents(struct tar *tar);

#endif
