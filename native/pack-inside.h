/* What the files of the packer share: pack.c walks the tree, pack-header.c writes the archive. */
#ifndef KEEL_PACK_INSIDE_H
#define KEEL_PACK_INSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "pack.h"

enum {
	BUFFER = 1 << 20,
	MAX_RECORDS = 1 << 18, /* of one entry's PAX header */
};

/* A file with several names: the first one that was packed. */
struct linked {
	dev_t device;
	ino_t inode;
	char *name;
};

struct pack {
	int root, to;
	uint32_t flags;
	struct keel_error *error;
	dev_t device; /* of the top */
	int64_t written;
	uint8_t *buffer;
	size_t used;
	char *records; /* the PAX header being made */
	size_t records_size;
	char *pending; /* paths and names of directories to visit, last first: path NUL name NUL */
	size_t pending_size, pending_capacity;
	struct linked *links; /* open addressing; the capacity is a power of two */
	size_t link_count, link_capacity;
};

/* What goes into the header of an entry. */
struct item {
	const char *name, *link;
	char type;
	struct stat st;
};

#define pack_fail(self, code, ...) archive_fail((self)->error, code, __VA_ARGS__)

int pack_flush(struct pack *p);
/* `data` NULL: zeros. */
int pack_put(struct pack *p, const void *data, size_t size);
/* What fills the last block of `size` bytes of data. */
int pack_pad(struct pack *p, uint64_t size);

/* Keeps the attributes of an open file for the next header. */
int pack_xattrs(struct pack *p, const char *name, int fd);
/* The header of an entry, with what was kept for it. */
int pack_header(struct pack *p, struct item *item);

#endif
