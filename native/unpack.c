#include "unpack-inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "remove.h"

int unpack_fail_tar(struct unpack *u, int error)
{
	archive_fail(u->error, EBADMSG, "archive", "%s", tar_message(u->tar));
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
		return unpack_fail(u, EBADMSG, "a whiteout of nothing");
	int parent = unpack_parent(u, parent_path, overlay);
	if (parent < 0)
		return parent == -ENOENT && !overlay ? 0 : parent;
	if (overlay && opaque)
		return unpack_mark_opaque(u, parent, ".", parent_path);
	snprintf(path, sizeof path, "%s%s%s", parent_path, parent_path[0] ? "/" : "", target);
	if (overlay)
		return unpack_make_whiteout(u, parent, target, path);
	int error;
	if (opaque) {
		int dir = openat(parent, ".", DIR_FLAGS);
		error = dir < 0 ? -errno : remove_content(dir);
		if (dir >= 0)
			close(dir);
	} else {
		error = remove_at(parent, target);
	}
	unpack_forget(u);
	return error ? unpack_fail(u, -error, "removing what it says is gone") : 0;
}

static int unpack_entry(struct unpack *u)
{
	char parent_path[PATH_MAX];
	int error = unpack_clean(u->entry.path, u->path);
	if (error) {
		snprintf(u->path, sizeof u->path, "%s", u->entry.path);
		return error == -EBADMSG ? unpack_fail(u, EBADMSG, "the name leaves the root") : unpack_fail(u, -error, "the name");
	}
	char *slash = strrchr(u->path, '/');
	const char *name = slash ? slash + 1 : u->path;
	size_t length = slash ? (size_t)(slash - u->path) : 0;
	memcpy(parent_path, u->path, length);
	parent_path[length] = 0;
	if (!*name && u->entry.type != TAR_DIRECTORY)
		return unpack_fail(u, EBADMSG, "an entry without a name");
	if (u->flags & (KEEL_UNPACK_OVERLAY | KEEL_UNPACK_DELETE)) {
		const char *inner = !strncmp(parent_path, ".wh.", 4) ? parent_path : strstr(parent_path, "/.wh.");
		if (inner)
			return strstr(inner, ".wh..wh.") ? 0 : unpack_fail(u, EBADMSG, "lies beneath a whiteout");
		if (!strncmp(name, ".wh.", 4))
			return unpack_whiteout(u, parent_path, name);
	}
	int parent = unpack_parent(u, parent_path, true);
	if (parent < 0)
		return parent;
	return unpack_make_entry(u, parent, name);
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
			return unpack_fail(u, errno, "sending the answer");
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
			return unpack_fail(u, EBADMSG, "more than %d entries", MAX_ENTRIES);
		error = unpack_entry(u);
		if (error)
			return error;
	}
	if (!error)
		error = tar_drain(u->tar);
	if (error)
		return unpack_fail_tar(u, error);
	error = unpack_finish_directories(u);
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
	unpack_forget(u);
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
