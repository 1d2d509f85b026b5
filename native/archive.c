#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TRIES = 128, MOST_OF_NAME = 140 };

int archive_fail(struct keel_error *out, int error, const char *name, const char *format, ...)
{
	char what[280];
	size_t length = strlen(name);
	va_list list;
	va_start(list, format);
	vsnprintf(what, sizeof what, format, list);
	va_end(list);
	if (length > MOST_OF_NAME)
		name += length - MOST_OF_NAME;
	snprintf(out->text, sizeof out->text, "%s%s: %s%s%s", length > MOST_OF_NAME ? "..." : "", name, what, error == EBADMSG ? "" : ": ",
		 error == EBADMSG ? "" : strerror(error));
	for (char *c = out->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	return -error;
}

int archive_open(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve};
	for (int i = 0;; i++) {
		int fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || i == TRIES)
			return fd < 0 ? -errno : fd;
	}
}

bool archive_keeps_xattr(const char *name)
{
	if (!strcmp(name, "security.capability"))
		return true;
	return !strncmp(name, "user.", 5) && strncmp(name, "user.overlay.", 13) != 0;
}
