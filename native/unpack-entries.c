/* Making entries: files, links, nodes, with their metadata. */
#include "unpack-inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- metadata ---- */

static int set_owner(struct unpack *u, int dir, const char *name, int flags)
{
	if (u->flags & KEEL_UNPACK_NO_OWNER || fchownat(dir, name, u->entry.uid, u->entry.gid, flags) == 0)
		return 0;
	if (u->flags & KEEL_UNPACK_ANY_OWNER && (errno == EPERM || errno == EINVAL))
		return 0;
	return unpack_fail(u, errno, "setting the owner %u:%u", u->entry.uid, u->entry.gid);
}

static int set_xattrs(struct unpack *u, int fd)
{
	for (size_t i = 0; i < u->entry.xattr_count; i++) {
		const struct tar_xattr *x = &u->entry.xattrs[i];
		if (archive_keeps_xattr(x->name) && fsetxattr(fd, x->name, x->value, x->size, 0) == 0)
			continue;
		if (archive_keeps_xattr(x->name) && errno != EOPNOTSUPP && errno != EPERM)
			return unpack_fail(u, errno, "setting the extended attribute %.60s", x->name);
		u->xattrs_skipped++;
	}
	return 0;
}

/* Owner, mode, extended attributes, in this order: a change of owner takes setuid and capabilities away. */
static int set_metadata(struct unpack *u, int fd, mode_t mode)
{
	int error = set_owner(u, fd, "", AT_EMPTY_PATH);
	if (!error && fchmod(fd, mode) < 0)
		error = unpack_fail(u, errno, "setting the mode");
	return error ? error : set_xattrs(u, fd);
}

/* ---- entries ---- */

static int write_all(struct unpack *u, int fd, const uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno != EINTR)
			return unpack_fail(u, errno, "writing");
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
			return n < 0 ? unpack_fail_tar(u, (int)n) : 0;
		while (n > 0) {
			size_t part = (size_t)n;
			while (e->sparse && left == 0) { /* tar.c has seen to it that the pieces add up */
				left = e->extents[piece].size;
				if (lseek(fd, (off_t)e->extents[piece++].offset, SEEK_SET) < 0)
					return unpack_fail(u, errno, "seeking in a sparse file");
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
		int error = unpack_replace(u, parent, name);
		if (error)
			return error;
		fd = openat(parent, name, flags, 0600);
	}
	if (fd < 0)
		return unpack_fail(u, errno, "making the file");
	int error = write_data(u, fd);
	if (!error && e->sparse && ftruncate(fd, (off_t)e->size) < 0)
		error = unpack_fail(u, errno, "setting the length %llu", (unsigned long long)e->size);
	if (!error)
		error = set_metadata(u, fd, e->mode);
	struct timespec times[2] = {{e->mtime, e->mtime_ns}, {e->mtime, e->mtime_ns}};
	if (!error && futimens(fd, times) < 0)
		error = unpack_fail(u, errno, "setting the times");
	if (close(fd) < 0 && !error)
		error = unpack_fail(u, errno, "writing");
	return error;
}

/* A directory that is there keeps its content; the root itself is the empty name. */
static int make_directory_entry(struct unpack *u, int parent, const char *name)
{
	int error = name[0] ? unpack_make_directory(u, parent, name, u->path, 0700) : 0;
	int fd = error ? -1 : openat(parent, name[0] ? name : ".", DIR_FLAGS);
	if (error == -EEXIST) {
		fd = openat(parent, name, DIR_FLAGS);
		if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
			error = unpack_replace(u, parent, name);
			if (error)
				return error;
			fd = mkdirat(parent, name, 0700) < 0 ? -1 : openat(parent, name, DIR_FLAGS);
		}
	} else if (error) {
		return u->error->text[0] ? error : unpack_fail(u, -error, "making the directory");
	}
	if (fd < 0)
		return unpack_fail(u, errno, "making the directory");
	error = set_metadata(u, fd, u->privileged ? u->entry.mode : u->entry.mode | 0700);
	if (!error)
		error = unpack_note(u, u->path, fd, &u->entry);
	if (error)
		close(fd);
	else if (!unpack_remember(u, u->path, fd)) /* its entries are likely to come next */
		error = unpack_fail(u, ENOMEM, "making the directory");
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
	int error = unpack_clean(u->entry.link, target);
	if (error == -EBADMSG)
		return unpack_fail(u, EBADMSG, "its hard link's target %.100s is outside of the root", u->entry.link);
	if (error)
		return unpack_fail(u, -error, "its hard link's target %.60s...", u->entry.link);
	char *slash = strrchr(target, '/');
	const char *base = slash ? slash + 1 : target;
	if (slash)
		*slash = 0;
	int dir = archive_open(u->root, slash ? target : "", O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return unpack_fail(u, -dir, "making a hard link to %.100s", u->entry.link);
	error = linkat(dir, base, parent, name, 0) < 0 ? errno : 0;
	if (error == EEXIST && same_file(dir, base, parent, name)) {
		error = 0;
	} else if (error == EEXIST) {
		error = -unpack_replace(u, parent, name);
		if (!error)
			error = linkat(dir, base, parent, name, 0) < 0 ? errno : 0;
	}
	close(dir);
	return error && !u->error->text[0] ? unpack_fail(u, error, "making a hard link to %.100s", u->entry.link) : -error;
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
		return unpack_fail(u, EBADMSG, "a symbolic link to %s", e->link[0] ? "a name that is too long" : "nothing");
	int made = make_node(u, parent, name);
	if (made == -EEXIST) {
		int error = unpack_replace(u, parent, name);
		if (error)
			return error;
		made = make_node(u, parent, name);
	}
	if (made)
		return made < 0 ? unpack_fail(u, -made, "making the %s", e->type == TAR_SYMLINK ? "symbolic link" : "device or pipe") : 0;
	u->xattrs_skipped += e->xattr_count;
	int error = set_owner(u, parent, name, AT_SYMLINK_NOFOLLOW);
	/* The change of owner took setuid away; before Linux 6.6 there is no way to set it that follows no link, and on these it means nothing. */
	if (!error && e->mode & 06000 && e->type != TAR_SYMLINK)
		syscall(452 /* fchmodat2 */, parent, name, e->mode, AT_SYMLINK_NOFOLLOW);
	if (!error && utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		error = unpack_fail(u, errno, "setting the times");
	return error;
}

int unpack_make_entry(struct unpack *u, int parent, const char *name)
{
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
