/* Finding, making and finishing the directories that entries lie in. */
#include "unpack-inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "remove.h"

/*
 * Takes leading slashes, `.` and inner `..` out of a name. 0, -EBADMSG where it leaves the root, -ENAMETOOLONG.
 * `out` holds PATH_MAX bytes; the root itself is the empty string.
 */
int unpack_clean(const char *name, char *out)
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

static size_t slot_of(const char *path)
{
	uint32_t hash = 2166136261;
	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * 16777619;
	return (hash ^ hash >> 16) % CACHED;
}

/* The cache owns `fd` from now on; what was in its place is closed. False: no memory, `fd` is closed. */
bool unpack_remember(struct unpack *u, const char *path, int fd)
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
void unpack_forget(struct unpack *u)
{
	for (size_t i = 0; i < CACHED; i++) {
		free(u->cache[i].path);
		u->cache[i].path = NULL;
	}
}

/* ---- directories to be finished ---- */

int unpack_note(struct unpack *u, const char *path, int fd, const struct tar_entry *e)
{
	struct stat st;
	size_t length = strlen(path) + 1;
	if (fstat(fd, &st) < 0)
		return unpack_fail(u, errno, "looking at the directory");
	if (u->directory_count == u->directory_capacity) {
		size_t capacity = u->directory_capacity ? u->directory_capacity * 2 : 1024;
		struct directory *grown = realloc(u->directories, capacity * sizeof *grown);
		if (!grown)
			return unpack_fail(u, ENOMEM, "keeping the directory in mind");
		u->directories = grown;
		u->directory_capacity = capacity;
	}
	if (u->notes_size + length > u->notes_capacity) {
		size_t capacity = (u->notes_size + length) * 2;
		char *grown = capacity > MAX_NOTES ? NULL : realloc(u->notes, capacity);
		if (!grown)
			return unpack_fail(u, ENOMEM, "keeping the directory in mind");
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
	int fd = archive_open(u->root, u->path, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return unpack_fail(u, -fd, "opening the directory");
	int error = fstat(fd, &st) < 0 ? errno : 0;
	if (!error && st.st_ino == d->inode) {
		if (d->implied)
			u->directories[(*kept)++] = *d;
		else if (((d->mode & 0700) != 0700 && !u->privileged && fchmod(fd, d->mode) < 0) || futimens(fd, times) < 0)
			error = errno;
	}
	close(fd);
	return error ? unpack_fail(u, error, "setting mode and times of the directory") : 0;
}

/*
 * Sets what could not be set earlier, as making entries changes a directory's times. What was implied at first and told of
 * later is not implied; what a name no longer leads to is left alone. Leaves the implied directories in u->directories.
 */
int unpack_finish_directories(struct unpack *u)
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

/* Makes room for an entry of another kind, or of the same. */
int unpack_replace(struct unpack *u, int parent, const char *name)
{
	struct stat st;
	if (u->flags & KEEL_UNPACK_KEEP_KIND && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode) != (u->entry.type == TAR_DIRECTORY))
		return unpack_fail(u, S_ISDIR(st.st_mode) ? EISDIR : ENOTDIR, "there already");
	unpack_forget(u);
	int error = remove_at(parent, name);
	return error ? unpack_fail(u, -error, "removing what is in its place") : 0;
}

/* ---- whiteouts ---- */

static bool is_whiteout(int parent, const char *name)
{
	struct stat st;
	return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

/* Marks the directory `name` of `parent`; `path` is its name in the archive. */
int unpack_mark_opaque(struct unpack *u, int parent, const char *name, const char *path)
{
	size_t length = strlen(path) + 2;
	if (path[0]) {
		const char *key = u->flags & KEEL_UNPACK_USERXATTR ? "user.overlay.opaque" : "trusted.overlay.opaque";
		int fd = openat(parent, name, DIR_FLAGS);
		int error = fd < 0 || fsetxattr(fd, key, "y", 1, 0) < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
		if (error && (error != EPERM || u->flags & KEEL_UNPACK_USERXATTR))
			return unpack_fail(u, error, "marking the directory as opaque");
	}
	char *grown = u->opaque_size + length > MAX_NOTES ? NULL : realloc(u->opaque, u->opaque_size + length);
	if (!grown)
		return unpack_fail(u, ENOMEM, "keeping the opaque directory in mind");
	u->opaque = grown;
	u->opaque[u->opaque_size] = 'o';
	memcpy(u->opaque + u->opaque_size + 1, path, length - 1);
	u->opaque_size += length;
	return 0;
}

/* The directory `name` is told of in this layer, and `.wh.name` is too: nothing below shows through. */
int unpack_make_directory(struct unpack *u, int parent, const char *name, const char *path, mode_t mode)
{
	if (mkdirat(parent, name, mode) == 0)
		return 0;
	if (errno != EEXIST || !(u->flags & KEEL_UNPACK_OVERLAY) || !is_whiteout(parent, name))
		return -errno;
	if (unlinkat(parent, name, 0) < 0 || mkdirat(parent, name, mode) < 0)
		return -errno;
	return unpack_mark_opaque(u, parent, name, path);
}

/* `.wh.name` in a layer for overlayfs: a mark, unless this layer has something of that name itself. */
int unpack_make_whiteout(struct unpack *u, int parent, const char *name, const char *path)
{
	struct stat st;
	if (mknodat(parent, name, S_IFCHR, 0) == 0)
		return 0;
	if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return unpack_fail(u, errno, "making the mark of a removed file");
	return S_ISDIR(st.st_mode) ? unpack_mark_opaque(u, parent, name, path) : 0;
}

/* ---- parents ---- */

/* Makes the directories of `path` that are missing. Returns the last one, opened. */
static int make_parents(struct unpack *u, const char *path)
{
	char prefix[PATH_MAX];
	int dir = archive_open(u->root, "", O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return unpack_fail(u, -dir, "opening the root");
	for (size_t at = 0, end; path[at]; at = end + (path[end] == '/')) {
		end = at + strcspn(path + at, "/");
		memcpy(prefix, path, end);
		prefix[end] = 0;
		int next = archive_open(u->root, prefix, O_PATH | O_DIRECTORY, 0), error = 0;
		if (next == -ENOENT || next == -ENOTDIR) {
			error = unpack_make_directory(u, dir, prefix + at, prefix, 0755);
			next = error ? error : openat(dir, prefix + at, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (!error && next < 0)
				next = -errno;
			if (next >= 0 && (error = unpack_note(u, prefix, next, NULL)))
				close(next), next = error;
		}
		close(dir);
		if (next < 0) {
			bool other = next == -EEXIST || next == -ENOTDIR || next == -ELOOP;
			return u->error->text[0] ? next
			       : other	   ? unpack_fail(u, ENOTDIR, "its parent %.120s is no directory, or a link that leads nowhere", prefix)
						 : unpack_fail(u, -next, "making its parent %.120s", prefix);
		}
		dir = next;
	}
	return dir;
}

/* The directory of that name, made if need be; the cache owns the descriptor. -ENOENT without an error's text if !make. */
int unpack_parent(struct unpack *u, const char *path, bool make)
{
	size_t i = slot_of(path);
	if (u->cache[i].path && !strcmp(u->cache[i].path, path))
		return u->cache[i].fd;
	int fd = archive_open(u->root, path, O_PATH | O_DIRECTORY, 0);
	if (!make && (fd == -ENOENT || fd == -ENOTDIR))
		return -ENOENT;
	if (fd == -ENOENT || fd == -ENOTDIR)
		fd = make_parents(u, path);
	else if (fd < 0)
		return unpack_fail(u, -fd, "opening its parent");
	if (fd >= 0 && !unpack_remember(u, path, fd))
		return unpack_fail(u, ENOMEM, "opening its parent");
	return fd;
}
