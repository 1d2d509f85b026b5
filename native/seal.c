#include "keel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* Set for the second execution, so that a machine where neither way works ends in an error instead of a loop. */
static const char mark[] = "KEEL_SEALED";

static bool is_sealed(int self)
{
	struct statvfs fs;
	int seals = fcntl(self, F_GET_SEALS);
	if (seals >= 0)
		return (seals & ALL_SEALS) == ALL_SEALS;
	return fstatvfs(self, &fs) == 0 && (fs.f_flag & ST_RDONLY);
}

/*
 * A private, detached read-only mount of the program's own file: the kernel refuses to open it for writing by whichever way, and unlike a copy its
 * pages are shared with every other keel of the machine.
 */
static int read_only_mount(void)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID};
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
		int error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

/* A copy in memory that nobody can change any more: where mounting isn't allowed. */
static int sealed_copy(int self)
{
	struct stat status;
	int fd = memfd_create("keel", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* MFD_EXEC came with Linux 6.3 */
		fd = memfd_create("keel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || fstat(self, &status) < 0)
		return -errno;
	for (off_t at = 0; at < status.st_size;) {
		ssize_t n = sendfile(fd, self, &at, (size_t)(status.st_size - at));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0 ? -errno : fd;
}

int seal_self(char **argv)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (self < 0)
		return -errno;
	bool sealed = is_sealed(self), second = getenv(mark) != NULL;
	if (sealed || second) {
		unsetenv(mark);
		close(self);
		return sealed ? 0 : -EPERM;
	}
	int fd = read_only_mount();
	if (fd < 0)
		fd = sealed_copy(self);
	if (fd < 0)
		return fd;
	setenv(mark, "1", 1);
	syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
	return -errno;
}
