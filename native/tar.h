/*
 * Reading of tar archives: v7, ustar, star, PAX (with GNU's sparse formats 0.0, 0.1, 1.0), GNU (long names, old sparse).
 * Where readers of tar differ, this one does as Go's archive/tar, for which images are made. Touches nothing but memory and
 * its reader. Sources: POSIX.1-2017 pax(1), "Extended Header" and "ustar Interchange Format"; the GNU tar manual, "Tar Internals".
 */
#ifndef KEEL_TAR_H
#define KEEL_TAR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum tar_type {
	TAR_FILE = '0',
	TAR_HARD_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHAR = '3',
	TAR_BLOCK = '4',
	TAR_DIRECTORY = '5',
	TAR_FIFO = '6',
};

struct tar_xattr {
	const char *name;
	const void *value;
	size_t size;
};

/* Where the next `size` bytes of an entry's data lie in a sparse file. */
struct tar_extent {
	uint64_t offset, size;
};

/* Valid until the next call of tar_next. */
struct tar_entry {
	enum tar_type type;
	const char *path, *link;
	uint32_t mode; /* permission bits and setuid, setgid, sticky only */
	uint32_t uid, gid, major, minor;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t size; /* the file's length */
	int sparse;
	size_t extent_count, xattr_count;
	const struct tar_extent *extents; /* ascending, disjoint, within size; their sizes add up to the data in the archive */
	const struct tar_xattr *xattrs;
};

struct tar;

/* As read(2). */
typedef ssize_t tar_reader(void *context, void *buffer, size_t size);

/* NULL when memory is out. */
struct tar *tar_open(tar_reader *reader, void *context);
void tar_close(struct tar *tar);

/* 1: `entry` is the next one. 0: the archive has ended. -errno, see tar_message: EBADMSG for what is not a tar archive. */
int tar_next(struct tar *tar, struct tar_entry *entry);

/* The next piece of the entry's data, in place: its size, 0 at the end of the entry, or -errno. */
ssize_t tar_data(struct tar *tar, const uint8_t **piece);

/* Reads what follows the end of the archive, to the end of the stream. 0 or -errno. */
int tar_drain(struct tar *tar);

/* Bytes of the stream read so far. */
uint64_t tar_consumed(const struct tar *tar);

/* What was wrong with the archive. */
const char *tar_message(const struct tar *tar);

#endif
