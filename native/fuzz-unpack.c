/*
 * Unpacks hostile archives for real, in a mount namespace in which all but a scratch directory is read-only: an entry that leaves its root
 * is found by what lies beside it, or by EROFS. The first byte is the flags. What an input left is removed by the unpacker too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuzz-tar.h"
#include "unpack.h"

static int root, outside, archive, cleaner;
static char secret[64];

static void must(bool holds, const char *what)
{
	if (!holds) {
		perror(what);
		abort();
	}
}

/* Everything read-only but `kept` (libFuzzer's corpus) and a new tmpfs on /mnt. */
static void isolate(char *kept)
{
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	must(unshare(CLONE_NEWNS) == 0, "unshare (root is needed)");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mount private");
	int corpus = (int)syscall(SYS_open_tree, AT_FDCWD, kept, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	must(corpus >= 0, kept);
	must(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof read_only) == 0, "mount_setattr");
	must(syscall(SYS_move_mount, corpus, "", AT_FDCWD, kept, MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
	must(mount("tmpfs", "/mnt", "tmpfs", 0, "size=64m,nr_inodes=20k") == 0, "mount tmpfs");
}

static int directory(const char *path)
{
	must(mkdir(path, 0755) == 0, path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd >= 0, path);
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* An archive that empties the directory: an opaque mark for its root. */
	static const char mark[] = ".wh..wh..opq";
	uint8_t block[513] = {0};
	memcpy(block + 1, mark, sizeof mark);
	memcpy(block + 1 + 257, "ustar\00000", 8);
	unsigned sum = 8 * ' ';
	for (int i = 1; i < 513; i++)
		sum += block[i];
	snprintf((char *)block + 1 + 148, 8, "%06o", sum);
	static char corpus[4096] = "/nonexistent";
	for (int i = *argc - 1; i > 0; i--)
		if ((*argv)[i][0] != '-')
			snprintf(corpus, sizeof corpus, "%s", (*argv)[i]);
	/* The folder above it holds what crashed. */
	isolate(dirname(corpus));
	cleaner = memfd_create("cleaner", MFD_CLOEXEC);
	must(write(cleaner, block + 1, 512) == 512, "cleaner");
	archive = memfd_create("archive", MFD_CLOEXEC);
	root = directory("/mnt/root");
	outside = directory("/mnt/outside");
	strcpy(secret, "what must not change");
	int fd = openat(outside, "secret", O_WRONLY | O_CREAT, 0600);
	must(write(fd, secret, sizeof secret) == sizeof secret, "secret");
	close(fd);
	return 0;
}

static int entries(int fd)
{
	int count = 0;
	lseek(fd, 0, SEEK_SET);
	DIR *list = fdopendir(dup(fd));
	while (readdir(list))
		count++;
	closedir(list);
	return count;
}

static void check_outside(void)
{
	char now[sizeof secret] = {0};
	struct stat st;
	int fd = openat(outside, "secret", O_RDONLY);
	must(fd >= 0 && read(fd, now, sizeof now) == sizeof now && memcmp(now, secret, sizeof now) == 0, "the secret has changed");
	must(fstat(fd, &st) == 0 && st.st_mode == (S_IFREG | 0600) && st.st_nlink == 1 && st.st_uid == 0, "the secret's inode has changed");
	close(fd);
	must(entries(outside) == 3, "something was made outside");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct keel_error error;
	if (size == 0)
		return 0;
	must(ftruncate(archive, 0) == 0 && pwrite(archive, data + 1, size - 1, 0) == (ssize_t)size - 1, "archive");
	lseek(archive, 0, SEEK_SET);
	int64_t result = keel_unpack(archive, root, data[0] & 0x7f, &error);
	must(result >= 0 || error.text[0], "an error without a text");
	must(result != -EROFS, "a write outside of the scratch directory");
	must(strlen(error.text) < sizeof error.text, "an endless text");
	check_outside();
	lseek(cleaner, 0, SEEK_SET);
	must(keel_unpack(cleaner, root, KEEL_UNPACK_DELETE, &error) >= 0, error.text);
	must(entries(root) == 2, "the directory is not empty");
	must(fchmod(root, 0755) == 0, "chmod");
	check_outside();
	return 0;
}
