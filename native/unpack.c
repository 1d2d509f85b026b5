#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tar.h"

enum {
	CACHED = 64,		   /* directories kept open */
	MAX_ENTRIES = 20 << 20,
	MAX_NOTES = 512 << 20,	   /* bytes of directory names kept to the end */
	RESOLVE_TRIES = 128,	   /* while others rename directories */
	MAX_PASSES = 1 << 16,	   /* over a directory to be removed that others fill */
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

/* ---- errors ---- */

/* The error's text: "name: what: strerror"; no words for EBADMSG, where `what` says it all. Returns -error. */
__attribute__((format(printf, 3, 4))) static int fail(struct unpack *u, int error, const char *format, ...)
{
	char what[280];
	va_list list;
	va_start(list, format);
	vsnprintf(what, sizeof what, format, list);
	va_end(list);
	const char *name = u->path[0] ? u->path : ".";
	size_t length = strlen(name), most = 140;
	snprintf(u->error->text, sizeof u->error->text, "%s%s: %s%s%s", length > most ? "..." : "", length > most ? name + length - most : name,
		 what, error == EBADMSG ? "" : ": ", error == EBADMSG ? "" : strerror(error));
	for (char *c = u->error->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	return -error;
}

/* What tar.c found; its words are complete. */
static int fail_tar(struct unpack *u, int error)
{
	snprintf(u->path, sizeof u->path, "%s", "archive");
	fail(u, EBADMSG, "%s", tar_message(u->tar));
	return error;
}

/* ---- names ---- */

/*
 * Takes leading slashes, `.` and inner `..` out of a name. 0, -EBADMSG where it leaves the root, -ENAMETOOLONG.
 * `out` holds PATH_MAX bytes; the root itself is the empty string.
 */
static int clean(const char *name, char *out)
{
	size_t n = 0;
	out[0] = 0;
	while (*name) {
		size_t length = strcspn(name, "/");
		if (length == 2 && name[0] == '.' && name[1] == '.') {
			if (n == 0)
				return -EBADMSG;
			while (n > 0 && out[n - 1] != '/')
				n--;
			n -= n > 0;
		} else if (length && !(length == 1 && name[0] == '.')) {
			if (n + 1 + length >= PATH_MAX)
				return -ENAMETOOLONG;
			if (n)
				out[n++] = '/';
			memcpy(out + n, name, length);
			n += length;
		}
		out[n] = 0;
		name += length + (name[length] == '/');
	}
	return 0;
}

static int open_in_root(struct unpack *u, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	for (int i = 0;; i++) {
		int fd = (int)syscall(SYS_openat2, u->root, path[0] ? path : ".", &how, sizeof how);
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || i == RESOLVE_TRIES)
			return fd < 0 ? -errno : fd;
	}
}

static size_t slot_of(const char *path)
{
	uint32_t hash = 2166136261;
	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * 16777619;
	return (hash ^ hash >> 16) % CACHED;
}

/* The cache owns `fd` from now on; what was in its place is closed. False: no memory, `fd` is closed. */
static bool remember(struct unpack *u, const char *path, int fd)
{
	size_t i = slot_of(path);
	if (u->cache[i].fd >= 0)
		close(u->cache[i].fd);
	free(u->cache[i].path);
	u->cache[i].path = strdup(path);
	u->cache[i].fd = u->cache[i].path ? fd : -1;
	if (!u->cache[i].path)
		close(fd);
	return u->cache[i].path != NULL;
}

/* To be called whenever something was removed: names may lead elsewhere from now on. The descriptors stay open for who uses them. */
static void forget(struct unpack *u)
{
	for (size_t i = 0; i < CACHED; i++) {
		free(u->cache[i].path);
		u->cache[i].path = NULL;
	}
}

/* ---- directories to be finished ---- */

static int note(struct unpack *u, const char *path, int fd, const struct tar_entry *e)
{
	struct stat st;
	size_t length = strlen(path) + 1;
	if (fstat(fd, &st) < 0)
		return fail(u, errno, "looking at the directory");
	if (u->directory_count == u->directory_capacity) {
		size_t capacity = u->directory_capacity ? u->directory_capacity * 2 : 1024;
		struct directory *grown = realloc(u->directories, capacity * sizeof *grown);
		if (!grown)
			return fail(u, ENOMEM, "keeping the directory in mind");
		u->directories = grown;
		u->directory_capacity = capacity;
	}
	if (u->notes_size + length > u->notes_capacity) {
		size_t capacity = (u->notes_size + length) * 2;
		char *grown = capacity > MAX_NOTES ? NULL : realloc(u->notes, capacity);
		if (!grown)
			return fail(u, ENOMEM, "keeping the directory in mind");
		u->notes = grown;
		u->notes_capacity = capacity;
	}
	memcpy(u->notes + u->notes_size, path, length);
	u->directories[u->directory_count] = (struct directory){
		.inode = st.st_ino,
		.mtime = e ? e->mtime : 0,
		.mtime_ns = e ? e->mtime_ns : 0,
		.mode = e ? e->mode : 0,
		.path = u->notes_size,
		.order = u->directory_count,
		.implied = !e,
	};
	u->directory_count++;
	u->notes_size += length;
	return 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct directory *x = a, *y = b;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* Keeps `*d` among the implied ones if that is what it is, at u->directories[*kept]. */
static int finish_directory(struct unpack *u, const struct directory *d, size_t *kept)
{
	struct stat st;
	struct timespec times[2] = {{d->mtime, d->mtime_ns}, {d->mtime, d->mtime_ns}};
	snprintf(u->path, sizeof u->path, "%s", u->notes + d->path);
	int fd = open_in_root(u, u->path, O_RDONLY | O_DIRECTORY);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return fail(u, -fd, "opening the directory");
	int error = fstat(fd, &st) < 0 ? errno : 0;
	if (!error && st.st_ino == d->inode) {
		if (d->implied)
			u->directories[(*kept)++] = *d;
		else if (((d->mode & 0700) != 0700 && !u->privileged && fchmod(fd, d->mode) < 0) || futimens(fd, times) < 0)
			error = errno;
	}
	close(fd);
	return error ? fail(u, error, "setting mode and times of the directory") : 0;
}

/*
 * Sets what could not be set earlier, as making entries changes a directory's times. What was implied at first and told of
 * later is not implied; what a name no longer leads to is left alone. Leaves the implied directories in u->directories.
 */
static int finish_directories(struct unpack *u)
{
	size_t count = u->directory_count, kept = 0;
	if (count)
		qsort(u->directories, count, sizeof *u->directories, by_inode);
	for (size_t i = 0, next; i < count; i = next) {
		size_t last = i;
		for (next = i; next < count && u->directories[next].inode == u->directories[i].inode; next++)
			if (!u->directories[next].implied)
				last = next;
		struct directory d = u->directories[last];
		int error = finish_directory(u, &d, &kept);
		if (error)
			return error;
	}
	u->directory_count = kept;
	return 0;
}

/* ---- removing ---- */

/* Takes everything out of `from`: directories that aren't empty are moved to `to`, the rest is removed. 0 or -errno. */
static int clear_into(int from, int to, uint64_t *moved, bool *progress)
{
	int copy = openat(from, ".", DIR_FLAGS), error = 0;
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) {
		error = errno;
		if (copy >= 0)
			close(copy);
		return -error;
	}
	for (struct dirent *e; !error && (e = readdir(list));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(from, e->d_name, 0) == 0 || unlinkat(from, e->d_name, AT_REMOVEDIR) == 0) {
			*progress = true;
		} else if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT) {
			error = errno;
		} else if (errno != ENOENT && from != to) {
			/* Whatever this replaces is about to be removed as well. */
			char name[40];
			for (int i = 0; i < 8; i++) {
				snprintf(name, sizeof name, ".keel-remove-%llu", (unsigned long long)(*moved)++);
				error = renameat(from, e->d_name, to, name) < 0 ? errno : 0;
				if (error != ENOTEMPTY && error != EEXIST && error != ENOTDIR)
					break;
			}
			*progress = true;
		} else if (errno != ENOENT) {
			int sub = openat(from, e->d_name, DIR_FLAGS);
			error = sub < 0 ? errno : -clear_into(sub, to, moved, progress);
			if (sub >= 0)
				close(sub);
		}
	}
	closedir(list);
	return -error;
}

/*
 * Removes everything in a directory with three descriptors and no deep recursion, however deep the tree: the children of each
 * subdirectory are moved up before it is removed, so every directory is moved once.
 */
static int empty_directory(int dir)
{
	uint64_t moved = 0;
	bool progress = true;
	for (int pass = 0; progress; pass++) {
		if (pass == MAX_PASSES)
			return -EBUSY;
		progress = false;
		int error = clear_into(dir, dir, &moved, &progress);
		if (error)
			return error;
	}
	return 0;
}

/* 0 also when there was nothing. */
static int remove_at(struct unpack *u, int parent, const char *name)
{
	if (unlinkat(parent, name, 0) == 0) {
		forget(u);
		return 0;
	}
	if (errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	forget(u);
	int dir = openat(parent, name, DIR_FLAGS);
	if (dir < 0)
		return -errno;
	int error = empty_directory(dir);
	close(dir);
	return error ? error : unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Makes room for an entry of another kind, or of the same. */
static int replace(struct unpack *u, int parent, const char *name)
{
	struct stat st;
	if (u->flags & KEEL_UNPACK_KEEP_KIND && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode) != (u->entry.type == TAR_DIRECTORY))
		return fail(u, S_ISDIR(st.st_mode) ? EISDIR : ENOTDIR, "there already");
	int error = remove_at(u, parent, name);
	return error ? fail(u, -error, "removing what is in its place") : 0;
}

/* ---- whiteouts ---- */

static bool is_whiteout(int parent, const char *name)
{
	struct stat st;
	return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

/* Marks the directory `name` of `parent`; `path` is its name in the archive. */
static int mark_opaque(struct unpack *u, int parent, const char *name, const char *path)
{
	size_t length = strlen(path) + 2;
	if (path[0]) {
		const char *key = u->flags & KEEL_UNPACK_USERXATTR ? "user.overlay.opaque" : "trusted.overlay.opaque";
		int fd = openat(parent, name, DIR_FLAGS);
		int error = fd < 0 || fsetxattr(fd, key, "y", 1, 0) < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
		if (error != EPERM || u->flags & KEEL_UNPACK_USERXATTR)
			return error ? fail(u, error, "marking the directory as opaque") : 0;
	}
	char *grown = u->opaque_size + length > MAX_NOTES ? NULL : realloc(u->opaque, u->opaque_size + length);
	if (!grown)
		return fail(u, ENOMEM, "keeping the opaque directory in mind");
	u->opaque = grown;
	u->opaque[u->opaque_size] = 'o';
	memcpy(u->opaque + u->opaque_size + 1, path, length - 1);
	u->opaque_size += length;
	return 0;
}

/* The directory `name` is told of in this layer, and `.wh.name` is too: nothing below shows through. */
static int make_directory(struct unpack *u, int parent, const char *name, const char *path, mode_t mode)
{
	if (mkdirat(parent, name, mode) == 0)
		return 0;
	if (errno != EEXIST || !(u->flags & KEEL_UNPACK_OVERLAY) || !is_whiteout(parent, name))
		return -errno;
	if (unlinkat(parent, name, 0) < 0 || mkdirat(parent, name, mode) < 0)
		return -errno;
	return mark_opaque(u, parent, name, path);
}

/* `.wh.name` in a layer for overlayfs: a mark, unless this layer has something of that name itself. */
static int make_whiteout(struct unpack *u, int parent, const char *name, const char *path)
{
	struct stat st;
	if (mknodat(parent, name, S_IFCHR, 0) == 0)
		return 0;
	if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(u, errno, "making the mark of a removed file");
	return S_ISDIR(st.st_mode) ? mark_opaque(u, parent, name, path) : 0;
}

/* ---- parents ---- */

/* Makes the directories of `path` that are missing. Returns the last one, opened. */
static int make_parents(struct unpack *u, const char *path)
{
	char prefix[PATH_MAX];
	int dir = open_in_root(u, "", O_PATH | O_DIRECTORY);
	if (dir < 0)
		return fail(u, -dir, "opening the root");
	for (size_t at = 0, end; path[at]; at = end + (path[end] == '/')) {
		end = at + strcspn(path + at, "/");
		memcpy(prefix, path, end);
		prefix[end] = 0;
		int next = open_in_root(u, prefix, O_PATH | O_DIRECTORY), error = 0;
		if (next == -ENOENT || next == -ENOTDIR) {
			error = make_directory(u, dir, prefix + at, prefix, 0755);
			next = error ? error : openat(dir, prefix + at, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (!error && next < 0)
				next = -errno;
			if (next >= 0 && (error = note(u, prefix, next, NULL)))
				close(next), next = error;
		}
		close(dir);
		if (next < 0) {
			bool other = next == -EEXIST || next == -ENOTDIR || next == -ELOOP;
			return u->error->text[0] ? next
			       : other	   ? fail(u, ENOTDIR, "its parent %.120s is no directory, or a link that leads nowhere", prefix)
						 : fail(u, -next, "making its parent %.120s", prefix);
		}
		dir = next;
	}
	return dir;
}

/* The directory of that name, made if need be; the cache owns the descriptor. -ENOENT without an error's text if !make. */
static int parent_of(struct unpack *u, const char *path, bool make)
{
	size_t i = slot_of(path);
	if (u->cache[i].path && !strcmp(u->cache[i].path, path))
		return u->cache[i].fd;
	int fd = open_in_root(u, path, O_PATH | O_DIRECTORY);
	if (!make && (fd == -ENOENT || fd == -ENOTDIR))
		return -ENOENT;
	if (fd == -ENOENT || fd == -ENOTDIR)
		fd = make_parents(u, path);
	else if (fd < 0)
		return fail(u, -fd, "opening its parent");
	if (fd >= 0 && !remember(u, path, fd))
		return fail(u, ENOMEM, "opening its parent");
	return fd;
}

/* ---- metadata ---- */

static int set_owner(struct unpack *u, int dir, const char *name, int flags)
{
	if (u->flags & KEEL_UNPACK_NO_OWNER || fchownat(dir, name, u->entry.uid, u->entry.gid, flags) == 0)
		return 0;
	if (u->flags & KEEL_UNPACK_ANY_OWNER && (errno == EPERM || errno == EINVAL))
		return 0;
	return fail(u, errno, "setting the owner %u:%u", u->entry.uid, u->entry.gid);
}

/* What an image may set: file capabilities and the users' own attributes, never overlayfs' marks. */
static bool is_allowed_xattr(const char *name)
{
	if (!strcmp(name, "security.capability"))
		return true;
	return !strncmp(name, "user.", 5) && strncmp(name, "user.overlay.", 13) != 0;
}

static int set_xattrs(struct unpack *u, int fd)
{
	for (size_t i = 0; i < u->entry.xattr_count; i++) {
		const struct tar_xattr *x = &u->entry.xattrs[i];
		if (is_allowed_xattr(x->name) && fsetxattr(fd, x->name, x->value, x->size, 0) == 0)
			continue;
		if (is_allowed_xattr(x->name) && errno != EOPNOTSUPP && errno != EPERM)
			return fail(u, errno, "setting the extended attribute %.60s", x->name);
		u->xattrs_skipped++;
	}
	return 0;
}

/* Owner, mode, extended attributes, in this order: a change of owner takes setuid and capabilities away. */
static int set_metadata(struct unpack *u, int fd, mode_t mode)
{
	int error = set_owner(u, fd, "", AT_EMPTY_PATH);
	if (!error && fchmod(fd, mode) < 0)
		error = fail(u, errno, "setting the mode");
	return error ? error : set_xattrs(u, fd);
}

/* ---- entries ---- */

static int write_all(struct unpack *u, int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno != EINTR)
			return fail(u, errno, "writing");
		if (n > 0) {
			data += n;
			size -= (size_t)n;
			u->bytes += (uint64_t)n;
		}
	}
	return 0;
}

static int write_data(struct unpack *u, int fd)
{
	const struct tar_entry *e = &u->entry;
	size_t piece = 0;
	uint64_t left = 0;
	for (;;) {
		const uint8_t *data;
		ssize_t n = tar_data(u->tar, &data);
		if (n <= 0)
			return n < 0 ? fail_tar(u, (int)n) : 0;
		while (n > 0) {
			size_t part = (size_t)n;
			while (e->sparse && left == 0) { /* tar.c has seen to it that the pieces add up */
				left = e->extents[piece].size;
				if (lseek(fd, (off_t)e->extents[piece++].offset, SEEK_SET) < 0)
					return fail(u, errno, "seeking in a sparse file");
			}
			if (e->sparse && part > left)
				part = (size_t)left;
			int error = write_all(u, fd, data, part);
			if (error)
				return error;
			left -= e->sparse ? part : 0;
			data += part;
			n -= (ssize_t)part;
		}
	}
}

static int make_file(struct unpack *u, int parent, const char *name)
{
	const struct tar_entry *e = &u->entry;
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent, name, flags, 0600);
	if (fd < 0 && errno == EEXIST) {
		int error = replace(u, parent, name);
		if (error)
			return error;
		fd = openat(parent, name, flags, 0600);
	}
	if (fd < 0)
		return fail(u, errno, "making the file");
	int error = write_data(u, fd);
	if (!error && e->sparse && ftruncate(fd, (off_t)e->size) < 0)
		error = fail(u, errno, "setting the length %llu", (unsigned long long)e->size);
	if (!error)
		error = set_metadata(u, fd, e->mode);
	struct timespec times[2] = {{e->mtime, e->mtime_ns}, {e->mtime, e->mtime_ns}};
	if (!error && futimens(fd, times) < 0)
		error = fail(u, errno, "setting the times");
	if (close(fd) < 0 && !error)
		error = fail(u, errno, "writing");
	return error;
}

/* A directory that is there keeps its content; the root itself is the empty name. */
static int make_directory_entry(struct unpack *u, int parent, const char *name)
{
	int error = name[0] ? make_directory(u, parent, name, u->path, 0700) : 0;
	int fd = error ? -1 : openat(parent, name[0] ? name : ".", DIR_FLAGS);
	if (error == -EEXIST) {
		fd = openat(parent, name, DIR_FLAGS);
		if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
			error = replace(u, parent, name);
			if (error)
				return error;
			fd = mkdirat(parent, name, 0700) < 0 ? -1 : openat(parent, name, DIR_FLAGS);
		}
	} else if (error) {
		return u->error->text[0] ? error : fail(u, -error, "making the directory");
	}
	if (fd < 0)
		return fail(u, errno, "making the directory");
	error = set_metadata(u, fd, u->privileged ? u->entry.mode : u->entry.mode | 0700);
	if (!error)
		error = note(u, u->path, fd, &u->entry);
	if (error)
		close(fd);
	else if (!remember(u, u->path, fd)) /* its entries are likely to come next */
		error = fail(u, ENOMEM, "making the directory");
	return error;
}

static int same_file(int dir_a, const char *a, int dir_b, const char *b)
{
	struct stat x, y;
	return fstatat(dir_a, a, &x, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(dir_b, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_ino == y.st_ino &&
	       x.st_dev == y.st_dev;
}

/* Owner, mode and times are those of the file it is a link to, whatever this entry says (CVE-2021-32760). */
static int make_hard_link(struct unpack *u, int parent, const char *name)
{
	char target[PATH_MAX];
	int error = clean(u->entry.link, target);
	if (error == -EBADMSG)
		return fail(u, EBADMSG, "its hard link's target %.100s is outside of the root", u->entry.link);
	if (error)
		return fail(u, -error, "its hard link's target %.60s...", u->entry.link);
	char *slash = strrchr(target, '/');
	const char *base = slash ? slash + 1 : target;
	if (slash)
		*slash = 0;
	int dir = open_in_root(u, slash ? target : "", O_PATH | O_DIRECTORY);
	if (dir < 0)
		return fail(u, -dir, "making a hard link to %.100s", u->entry.link);
	error = linkat(dir, base, parent, name, 0) < 0 ? errno : 0;
	if (error == EEXIST && same_file(dir, base, parent, name)) {
		error = 0;
	} else if (error == EEXIST) {
		error = -replace(u, parent, name);
		if (!error)
			error = linkat(dir, base, parent, name, 0) < 0 ? errno : 0;
	}
	close(dir);
	return error && !u->error->text[0] ? fail(u, error, "making a hard link to %.100s", u->entry.link) : -error;
}

/* Symbolic links, devices, FIFOs. 1: left out. */
static int make_node(struct unpack *u, int parent, const char *name)
{
	const struct tar_entry *e = &u->entry;
	static const mode_t kinds[] = {[TAR_CHAR - '0'] = S_IFCHR, [TAR_BLOCK - '0'] = S_IFBLK, [TAR_FIFO - '0'] = S_IFIFO};
	int made = e->type == TAR_SYMLINK ? symlinkat(e->link, parent, name)
					  : mknodat(parent, name, kinds[e->type - '0'] | e->mode, makedev(e->major, e->minor));
	if (made == 0)
		return 0;
	if (errno == EPERM && u->flags & KEEL_UNPACK_SKIP_DEVICES && (e->type == TAR_CHAR || e->type == TAR_BLOCK)) {
		u->devices_skipped++;
		return 1;
	}
	return -errno;
}

static int make_special(struct unpack *u, int parent, const char *name)
{
	const struct tar_entry *e = &u->entry;
	struct timespec times[2] = {{e->mtime, e->mtime_ns}, {e->mtime, e->mtime_ns}};
	if (e->type == TAR_SYMLINK && (!e->link[0] || strlen(e->link) >= PATH_MAX))
		return fail(u, EBADMSG, "a symbolic link to %s", e->link[0] ? "a name that is too long" : "nothing");
	int made = make_node(u, parent, name);
	if (made == -EEXIST) {
		int error = replace(u, parent, name);
		if (error)
			return error;
		made = make_node(u, parent, name);
	}
	if (made)
		return made < 0 ? fail(u, -made, "making the %s", e->type == TAR_SYMLINK ? "symbolic link" : "device or pipe") : 0;
	u->xattrs_skipped += e->xattr_count;
	int error = set_owner(u, parent, name, AT_SYMLINK_NOFOLLOW);
	/* The change of owner took setuid away; before Linux 6.6 there is no way to set it that follows no link, and on these it means nothing. */
	if (!error && e->mode & 06000 && e->type != TAR_SYMLINK)
		syscall(452 /* fchmodat2 */, parent, name, e->mode, AT_SYMLINK_NOFOLLOW);
	if (!error && utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		error = fail(u, errno, "setting the times");
	return error;
}

/* An entry whose name begins with `.wh.`. */
static int unpack_whiteout(struct unpack *u, char *parent_path, const char *name)
{
	const char *target = name + 4;
	bool overlay = u->flags & KEEL_UNPACK_OVERLAY, opaque = !strcmp(name, ".wh..wh..opq");
	char path[2 * PATH_MAX];
	if (!opaque && !strncmp(target, ".wh.", 4))
		return 0; /* AUFS' own files */
	if (!*target || !strcmp(target, ".") || !strcmp(target, ".."))
		return fail(u, EBADMSG, "a whiteout of nothing");
	int parent = parent_of(u, parent_path, overlay);
	if (parent < 0)
		return parent == -ENOENT && !overlay ? 0 : parent;
	if (overlay && opaque)
		return mark_opaque(u, parent, ".", parent_path);
	snprintf(path, sizeof path, "%s%s%s", parent_path, parent_path[0] ? "/" : "", target);
	if (overlay)
		return make_whiteout(u, parent, target, path);
	int error;
	if (opaque) {
		int dir = openat(parent, ".", DIR_FLAGS);
		error = dir < 0 ? -errno : empty_directory(dir);
		if (dir >= 0)
			close(dir);
		forget(u);
	} else {
		error = remove_at(u, parent, target);
	}
	return error ? fail(u, -error, "removing what it says is gone") : 0;
}

static int unpack_entry(struct unpack *u)
{
	char parent_path[PATH_MAX];
	int error = clean(u->entry.path, u->path);
	if (error) {
		snprintf(u->path, sizeof u->path, "%s", u->entry.path);
		return error == -EBADMSG ? fail(u, EBADMSG, "the name leaves the root") : fail(u, -error, "the name");
	}
	char *slash = strrchr(u->path, '/');
	const char *name = slash ? slash + 1 : u->path;
	size_t length = slash ? (size_t)(slash - u->path) : 0;
	memcpy(parent_path, u->path, length);
	parent_path[length] = 0;
	if (!*name && u->entry.type != TAR_DIRECTORY)
		return fail(u, EBADMSG, "an entry without a name");
	if (u->flags & (KEEL_UNPACK_OVERLAY | KEEL_UNPACK_DELETE)) {
		const char *inner = !strncmp(parent_path, ".wh.", 4) ? parent_path : strstr(parent_path, "/.wh.");
		if (inner)
			return strstr(inner, ".wh..wh.") ? 0 : fail(u, EBADMSG, "lies beneath a whiteout");
		if (!strncmp(name, ".wh.", 4))
			return unpack_whiteout(u, parent_path, name);
	}
	int parent = parent_of(u, parent_path, true);
	if (parent < 0)
		return parent;
	switch (u->entry.type) {
	case TAR_FILE:
		return make_file(u, parent, name);
	case TAR_DIRECTORY:
		return make_directory_entry(u, parent, name);
	case TAR_HARD_LINK:
		return make_hard_link(u, parent, name);
	default:
		return make_special(u, parent, name);
	}
}

/* ---- the stream ---- */

static ssize_t read_stream(void *context, void *buffer, size_t size)
{
	return read(*(int *)context, buffer, size);
}

static int send_all(struct unpack *u, const char *data, size_t size)
{
	while (size) {
		ssize_t n = send(u->from, data, size, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return fail(u, errno, "sending the answer");
		if (n > 0)
			data += n, size -= (size_t)n;
	}
	return 0;
}

static int answer(struct unpack *u)
{
	char line[100];
	int error = 0;
	for (size_t i = 0; !error && i < u->directory_count; i++) {
		const char *path = u->notes + u->directories[i].path;
		error = send_all(u, "i", 1);
		if (!error)
			error = send_all(u, path, strlen(path) + 1);
	}
	if (!error)
		error = send_all(u, u->opaque, u->opaque_size);
	int n = snprintf(line, sizeof line, "s%llu %llu %llu %llu", (unsigned long long)u->entries, (unsigned long long)u->bytes,
			 (unsigned long long)u->devices_skipped, (unsigned long long)u->xattrs_skipped);
	return error ? error : send_all(u, line, (size_t)n + 1);
}

static int unpack_stream(struct unpack *u)
{
	int error;
	while ((error = tar_next(u->tar, &u->entry)) == 1) {
		if (u->entries++ == MAX_ENTRIES)
			return fail(u, EBADMSG, "more than %d entries", MAX_ENTRIES);
		error = unpack_entry(u);
		if (error)
			return error;
	}
	if (!error)
		error = tar_drain(u->tar);
	if (error)
		return fail_tar(u, error);
	error = finish_directories(u);
	if (!error && u->flags & KEEL_UNPACK_ANSWER)
		error = answer(u);
	return error;
}

int64_t keel_unpack(int from, int root, uint32_t flags, struct keel_error *error)
{
	error->text[0] = 0;
	struct unpack *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	*u = (struct unpack){.from = from, .root = root, .flags = flags, .error = error, .privileged = geteuid() == 0};
	for (size_t i = 0; i < CACHED; i++)
		u->cache[i].fd = -1;
	u->tar = tar_open(read_stream, &u->from);
	mode_t mask = umask(0);
	int64_t result = u->tar ? unpack_stream(u) : -ENOMEM;
	umask(mask);
	if (result == 0)
		result = (int64_t)tar_consumed(u->tar);
	forget(u);
	for (size_t i = 0; i < CACHED; i++)
		if (u->cache[i].fd >= 0)
			close(u->cache[i].fd);
	if (u->tar)
		tar_close(u->tar);
	free(u->directories);
	free(u->notes);
	free(u->opaque);
	free(u);
	return result;
}
