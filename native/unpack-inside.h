/*
 * What the files of the unpacker share: unpack.c reads the stream and deals with whiteouts, unpack-directories.c finds and makes directories,
 * unpack-entries.c makes what is in them.
 */
#ifndef KEEL_UNPACK_INSIDE_H
#define KEEL_UNPACK_INSIDE_H

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "tar.h"
#include "unpack.h"

enum {
	CACHED = 64,		   /* directories kept open */
	MAX_ENTRIES = 20 << 20,
	MAX_NOTES = 512 << 20,	   /* bytes of directory names kept to the end */
	DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
};

/* A directory whose times are set at the end; or one that no entry told of. */
struct directory {
	uint64_t inode;
	int64_t mtime;
	uint32_t mtime_ns, mode;
	size_t path, order;
	bool implied;
};

struct unpack {
	struct tar *tar;
	int from, root;
	uint32_t flags;
	bool privileged; /* directories without u+rwx don't stand in our way */
	struct keel_error *error;
	struct tar_entry entry;
	char path[PATH_MAX]; /* of the entry, cleaned */

	struct {
		char *path;
		int fd;
	} cache[CACHED];
	struct directory *directories;
	size_t directory_count, directory_capacity;
	char *notes; /* paths of the directories, each with a NUL */
	size_t notes_size, notes_capacity;
	char *opaque; /* the answer's records of opaque directories */
	size_t opaque_size;
	uint64_t entries, bytes, devices_skipped, xattrs_skipped;
};

/* Tells of the entry at hand; see archive_fail. */
#define unpack_fail(self, code, ...) archive_fail((self)->error, code, (self)->path[0] ? (self)->path : ".", __VA_ARGS__)

/* What the reader found; its words are complete. Returns `error`. */
int unpack_fail_tar(struct unpack *u, int error);

/* ---- unpack-directories.c ---- */

/* Takes leading slashes, `.` and inner `..` out of a name. 0, -EBADMSG where it leaves the root, -ENAMETOOLONG. `out` holds PATH_MAX bytes. */
int unpack_clean(const char *name, char *out);

/*
 * The directory of that name, made if need be; its descriptor is the cache's, good until the next call that takes a name. -ENOENT without an
 * error's text where there is none and `make` is false.
 */
int unpack_parent(struct unpack *u, const char *path, bool make);

/* The cache owns `fd` from now on. False: no memory, `fd` is closed. */
bool unpack_remember(struct unpack *u, const char *path, int fd);

/* To be called whenever something was removed: names may lead elsewhere. Descriptors that were given out stay open. */
void unpack_forget(struct unpack *u);

/* Keeps a directory in mind for unpack_finish_directories; without an entry, as one that was only implied. */
int unpack_note(struct unpack *u, const char *path, int fd, const struct tar_entry *entry);
int unpack_finish_directories(struct unpack *u);

/* mkdirat, which in a layer for overlayfs takes the place of a whiteout and then is opaque. -EEXIST without an error's text. */
int unpack_make_directory(struct unpack *u, int parent, const char *name, const char *path, mode_t mode);

/* `.wh.name` in a layer for overlayfs: a mark, unless this layer has something of that name itself. */
int unpack_make_whiteout(struct unpack *u, int parent, const char *name, const char *path);

/* Marks the directory `name` of `parent`, called `path` in the archive, as opaque. */
int unpack_mark_opaque(struct unpack *u, int parent, const char *name, const char *path);

/* Makes room for an entry of another kind, or of the same. */
int unpack_replace(struct unpack *u, int parent, const char *name);

/* ---- unpack-entries.c ---- */

/* Makes the entry at hand as `name` in the open directory; the empty name is the root itself. */
int unpack_make_entry(struct unpack *u, int parent, const char *name);

#endif
