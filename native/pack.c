#include "pack-inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
	MAX_PENDING = 256 << 20, /* bytes of directory names still to be visited */
};

/* ---- files ---- */

/* The slot of that inode; its name is NULL where it is new. NULL: no memory. */
static struct linked *linked(struct pack *p, dev_t device, ino_t inode)
{
	if (p->link_count * 2 >= p->link_capacity) {
		struct linked *old = p->links;
		size_t count = p->link_capacity;
		p->link_capacity = count ? count * 2 : 256;
		p->links = calloc(p->link_capacity, sizeof *p->links);
		if (!p->links) {
			p->links = old;
			p->link_capacity = count;
			return NULL;
		}
		p->link_count = 0;
		for (size_t i = 0; i < count; i++)
			if (old[i].name)
				*linked(p, old[i].device, old[i].inode) = old[i], p->link_count++;
		free(old);
	}
	size_t i = (size_t)((uint64_t)inode * 0x9e3779b97f4a7c15u >> 20);
	for (;; i++) {
		struct linked *l = &p->links[i & (p->link_capacity - 1)];
		if (!l->name || (l->device == device && l->inode == inode)) {
			l->device = device;
			l->inode = inode;
			return l;
		}
	}
}

/* Exactly `size` bytes, whatever becomes of the file meanwhile. */
static int put_content(struct pack *p, const char *name, int fd, uint64_t size)
{
	uint64_t left = size;
	while (left) {
		size_t room = BUFFER - p->used;
		ssize_t n = read(fd, p->buffer + p->used, left < room ? (size_t)left : room);
		if (n < 0 && errno != EINTR)
			return pack_fail(p, errno, name, "reading");
		if (n == 0)
			break;
		if (n > 0) {
			p->used += (size_t)n;
			left -= (uint64_t)n;
		}
		int error = p->used == BUFFER ? pack_flush(p) : 0;
		if (error)
			return error;
	}
	for (; left > BUFFER; left -= BUFFER) {
		int error = pack_put(p, NULL, BUFFER);
		if (error)
			return error;
	}
	int error = pack_put(p, NULL, (size_t)left);
	return error ? error : pack_pad(p, size);
}

static int pack_file(struct pack *p, int dir, const char *base, struct item *i)
{
	int fd = openat(dir, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 0 : pack_fail(p, errno, i->name, "opening");
	int error = fstat(fd, &i->st) < 0 ? pack_fail(p, errno, i->name, "looking at it") : 0;
	if (!error && S_ISREG(i->st.st_mode)) {
		error = pack_xattrs(p, i->name, fd);
		if (!error)
			error = pack_header(p, i);
		if (!error && !(p->flags & KEEL_PACK_HEADERS))
			error = put_content(p, i->name, fd, (uint64_t)i->st.st_size);
	}
	close(fd);
	return error;
}

/* The directory's own entry; what is in it comes later. */
static int pack_directory(struct pack *p, int dir, const char *base, struct item *i, const char *path)
{
	size_t path_size = strlen(path) + 1, name_size = strlen(i->name) + 1;
	char slashed[PATH_MAX + 2];
	int fd = openat(dir, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), error = 0;
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP || errno == ENOTDIR ? 0 : pack_fail(p, errno, i->name, "opening");
	snprintf(slashed, sizeof slashed, "%s/", i->name);
	if (*i->name) {
		struct item entry = {.name = slashed, .type = '5', .st = i->st};
		error = pack_xattrs(p, i->name, fd);
		if (!error)
			error = pack_header(p, &entry);
	}
	close(fd);
	if (error || (p->flags & KEEL_PACK_ONE_FILE_SYSTEM && i->st.st_dev != p->device))
		return error;
	if (p->pending_size + path_size + name_size > p->pending_capacity) {
		size_t capacity = (p->pending_size + path_size + name_size) * 2;
		char *grown = capacity > MAX_PENDING ? NULL : realloc(p->pending, capacity);
		if (!grown)
			return pack_fail(p, ENOMEM, i->name, "keeping the directory in mind");
		p->pending = grown;
		p->pending_capacity = capacity;
	}
	memcpy(p->pending + p->pending_size, path, path_size);
	memcpy(p->pending + p->pending_size + path_size, i->name, name_size);
	p->pending_size += path_size + name_size;
	return 0;
}

static int pack_whiteout(struct pack *p, const char *prefix, const char *base, const struct stat *st)
{
	char name[PATH_MAX + 8];
	snprintf(name, sizeof name, "%s%s.wh.%s", prefix, *prefix ? "/" : "", base);
	struct item i = {.name = name, .type = '0', .st = *st};
	i.st.st_mode = 0;
	i.st.st_size = 0;
	return pack_header(p, &i);
}

/* `base` in the open directory `dir`, found at `path` beneath the root, called `name` in the archive. */
static int pack_entry(struct pack *p, int dir, const char *base, const char *path, const char *name)
{
	struct item i = {.name = name};
	char target[PATH_MAX];
	if (fstatat(dir, base, &i.st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : pack_fail(p, errno, name, "looking at it");
	if (S_ISDIR(i.st.st_mode))
		return pack_directory(p, dir, base, &i, path);
	if (S_ISSOCK(i.st.st_mode))
		return 0;
	if (i.st.st_nlink > 1) {
		struct linked *l = linked(p, i.st.st_dev, i.st.st_ino);
		if (!l)
			return pack_fail(p, ENOMEM, name, "keeping its links in mind");
		if (l->name) {
			i.type = '1';
			i.link = l->name;
			return pack_header(p, &i);
		}
		l->name = strdup(name);
		p->link_count++;
		if (!l->name)
			return pack_fail(p, ENOMEM, name, "keeping its links in mind");
	}
	if (S_ISLNK(i.st.st_mode)) {
		ssize_t n = readlinkat(dir, base, target, sizeof target - 1);
		if (n < 0)
			return errno == ENOENT || errno == EINVAL ? 0 : pack_fail(p, errno, name, "reading the link");
		target[n] = 0;
		i.link = target;
	}
	i.type = S_ISREG(i.st.st_mode)	  ? '0'
		 : S_ISLNK(i.st.st_mode)  ? '2'
		 : S_ISCHR(i.st.st_mode)  ? '3'
		 : S_ISBLK(i.st.st_mode)  ? '4'
					  : '6';
	return i.type == '0' ? pack_file(p, dir, base, &i) : pack_header(p, &i);
}

/* ---- directories ---- */

static int by_name(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	bool hides_x = !strncmp(x, ".wh.", 4), hides_y = !strncmp(y, ".wh.", 4);
	return hides_x != hides_y ? hides_y - hides_x : strcmp(x, y);
}

/* All names of the directory, sorted, in one allocation for the texts. 0 or -errno; `names` and `names[0]`'s text are to be freed. */
static int read_names(int fd, char ***names, char **texts, size_t *count)
{
	size_t size = 0, capacity = 0, at = 0;
	int error = 0;
	*names = NULL;
	*texts = NULL;
	*count = 0;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list)
		return -errno;
	for (struct dirent *e; !error && (errno = 0, e = readdir(list));) {
		size_t length = strlen(e->d_name) + 1;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (size + length > capacity) {
			capacity = (size + length) * 2;
			char *grown = realloc(*texts, capacity);
			if (!grown) {
				error = ENOMEM;
				break;
			}
			*texts = grown;
		}
		memcpy(*texts + size, e->d_name, length);
		size += length;
		++*count;
	}
	error = error ? error : errno;
	closedir(list);
	if (!error && *count && !(*names = malloc(*count * sizeof **names)))
		error = ENOMEM;
	for (size_t i = 0; !error && i < *count; i++, at += strlen(*texts + at) + 1)
		(*names)[i] = *texts + at;
	if (!error && *count)
		qsort(*names, *count, sizeof **names, by_name);
	return -error;
}

static bool is_opaque(int fd)
{
	char value = 0;
	return (fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 || fgetxattr(fd, "user.overlay.opaque", &value, 1) == 1) && value == 'y';
}

static int pack_names(struct pack *p, int fd, char **names, size_t count, const char *path, const char *name)
{
	char full[PATH_MAX], called[PATH_MAX];
	struct stat st;
	int error = 0;
	bool overlay = p->flags & KEEL_PACK_OVERLAY;
	if (overlay && is_opaque(fd) && fstat(fd, &st) == 0)
		error = pack_whiteout(p, name, ".wh..opq", &st);
	for (size_t i = 0; !error && overlay && i < count; i++)
		if (fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0)
			error = pack_whiteout(p, name, names[i], &st), names[i] = NULL;
	for (size_t i = 0; !error && i < count; i++) {
		if (!names[i])
			continue;
		size_t a = (size_t)snprintf(full, sizeof full, "%s%s%s", path, *path ? "/" : "", names[i]);
		size_t b = (size_t)snprintf(called, sizeof called, "%s%s%s", name, *name ? "/" : "", names[i]);
		error = a >= sizeof full || b >= sizeof called ? pack_fail(p, ENAMETOOLONG, full, "its name") : pack_entry(p, fd, names[i], full, called);
	}
	return error;
}

/* What is in a directory that was packed; its own subdirectories are left pending, the first one on top. */
static int visit(struct pack *p, const char *path, const char *name)
{
	char **names, *texts;
	size_t count;
	int fd = archive_open(p->root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
	if (fd < 0)
		return fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR ? 0 : pack_fail(p, -fd, path, "opening the directory");
	int error = read_names(fd, &names, &texts, &count);
	if (error)
		pack_fail(p, -error, path, "reading the directory");
	else
		error = pack_names(p, fd, names, count, path, name);
	free(names);
	free(texts);
	close(fd);
	return error;
}

/* Turns the pending directories from `from` on around, so that the first of them is the next. */
static int reverse(struct pack *p, size_t from)
{
	size_t size = p->pending_size - from, out = size;
	char *copy = malloc(size + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, p->pending + from, size);
	for (size_t at = 0, length; at < size; at += length) {
		length = strlen(copy + at) + 1;
		length += strlen(copy + at + length) + 1;
		out -= length;
		memcpy(p->pending + from + out, copy + at, length);
	}
	free(copy);
	return 0;
}

static int pack_all(struct pack *p, const char *path, const char *name)
{
	char here[PATH_MAX], called[PATH_MAX];
	struct stat st;
	const char *slash = strrchr(path, '/');
	if (slash)
		snprintf(here, sizeof here, "%.*s", (int)(slash - path), path);
	int dir = archive_open(p->root, slash ? here : "", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	if (dir < 0)
		return pack_fail(p, -dir, path, "opening");
	const char *base = slash ? slash + 1 : *path ? path : ".";
	int error = fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0 ? pack_fail(p, errno, path, "looking at it") : 0;
	p->device = st.st_dev;
	if (!error)
		error = pack_entry(p, dir, base, path, name);
	close(dir);
	while (!error && p->pending_size) {
		/* The last two strings. */
		size_t at = p->pending_size - 1;
		while (at > 0 && p->pending[at - 1])
			at--;
		snprintf(called, sizeof called, "%s", p->pending + at);
		for (at = at ? at - 1 : 0; at > 0 && p->pending[at - 1];)
			at--;
		snprintf(here, sizeof here, "%s", p->pending + at);
		p->pending_size = at;
		error = visit(p, here, called);
		if (!error)
			error = reverse(p, at);
	}
	return error ? error : pack_flush(p);
}

int64_t keel_pack(int root, const char *path, const char *name, int to, uint32_t flags, struct keel_error *error)
{
	error->text[0] = 0;
	struct pack p = {.root = root, .to = to, .flags = flags, .error = error};
	p.buffer = malloc(BUFFER);
	p.records = malloc(MAX_RECORDS + 32);
	int64_t result = p.buffer && p.records ? pack_all(&p, path, name) : -ENOMEM;
	for (size_t i = 0; i < p.link_capacity; i++)
		free(p.links[i].name);
	free(p.links);
	free(p.pending);
	free(p.records);
	free(p.buffer);
	return result < 0 ? result : p.written;
}
