/* What a keeper leaves in the file system, and what it starts when it goes. */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keel.h"

enum { SNAPSHOT_MAX = 4096 };

/* Paths may be longer than sun_path: the name is bound within its directory, by way of the descriptor. */
static int open_directory(const char *path, struct sockaddr_un *address)
{
	const char *slash = strrchr(path, '/');
	char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	if (!directory)
		return -ENOMEM;
	int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = -errno;
	free(directory);
	if (fd < 0)
		return error;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", fd, slash ? slash + 1 : path);
	if (n < (int)sizeof address->sun_path)
		return fd;
	close(fd);
	return -ENAMETOOLONG;
}

int listen_at(const char *path)
{
	struct sockaddr_un address;
	int directory = open_directory(path, &address), error = 0;
	if (directory < 0)
		return directory;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t before = umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0)
		error = -errno;
	umask(before);
	close(directory);
	if (error && fd >= 0)
		close(fd);
	return error ? error : fd;
}

void unlink_at(const char *path)
{
	unlink(path);
}

static void put_string(FILE *out, const char *bytes, size_t size)
{
	uint8_t *escaped = malloc(6 * size + 16);
	if (!escaped) {
		fputs("\"\"", out);
		return;
	}
	size_t length = (size_t)(json_escape(escaped, (const uint8_t *)bytes, size) - escaped);
	fputc('"', out);
	fwrite(escaped, 1, length, out);
	fputc('"', out);
	free(escaped);
}

static void put_snapshot(FILE *out, const char *path)
{
	char content[SNAPSHOT_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof content);
	if (fd >= 0)
		close(fd);
	put_string(out, path, strlen(path));
	fputc(':', out);
	if (n < 0)
		fputs("null", out);
	else
		put_string(out, content, (size_t)n);
}

static void put_record(FILE *out, const struct keeper *k, const struct exit_errors *errors)
{
	fprintf(out, "{\"pid\":%d,\"exitCode\":%d,\"signal\":%d,\"startedAt\":\"%lld\",\"finishedAt\":\"%lld\",\"droppedLogBytes\":%llu", k->pid,
		k->exit_code, k->signal, (long long)k->started_at, (long long)k->finished_at, (unsigned long long)k->log.dropped);
	fputs(",\"snapshots\":{", out);
	for (uint32_t i = 0; i < k->spec->snapshot_count; i++) {
		if (i > 0)
			fputc(',', out);
		put_snapshot(out, k->spec->snapshots[i]);
	}
	fputs("},\"exitPlanErrors\":[", out);
	for (uint32_t i = 0; i < errors->count; i++) {
		const struct failure *f = &errors->list[i];
		fprintf(out, "%s{\"op\":%u,\"errno\":%d,\"text\":", i > 0 ? "," : "", f->op, f->error);
		put_string(out, f->text, strnlen(f->text, sizeof f->text));
		fputc('}', out);
	}
	fputs("]}\n", out);
}

static void sync_directory(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	free(copy);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

void write_record(const struct keeper *k, const struct exit_errors *errors)
{
	char *bytes = NULL, temporary[4200];
	size_t size = 0;
	FILE *out = open_memstream(&bytes, &size);
	if (!out)
		return;
	put_record(out, k, errors);
	if (fclose(out) != 0)
		return;
	snprintf(temporary, sizeof temporary, "%s.new", k->spec->exit_record);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool whole = fd >= 0 && write(fd, bytes, size) == (ssize_t)size && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	free(bytes);
	if (whole && rename(temporary, k->spec->exit_record) == 0)
		sync_directory(k->spec->exit_record);
	else
		unlink(temporary);
}

/* On its own: in a session of its own, with nothing of the keeper's open, and orphaned when the keeper goes. */
void run_exit_command(const struct keeper *k)
{
	if (k->spec->command_count == 0 || fork() != 0)
		return;
	setsid();
	reset_signals();
	close_range(3, ~0U, 0);
	execvp(k->spec->command[0], k->spec->command);
	_exit(127);
}
