/* What attacks do that busybox can't: a static program, on the host and in containers. Says what it found on standard output. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { JOIN_SESSION = 1, SEARCH = 10, SESSION = -3 };

static const char *outcome(long result)
{
	return result < 0 ? strerrorname_np(errno) : "done";
}

/* keyring CMD…: with a session keyring that has a secret. */
static int with_secret(char **argv)
{
	if (syscall(SYS_keyctl, JOIN_SESSION, NULL) < 0 || syscall(SYS_add_key, "user", "secret", "of the host", 11, SESSION) < 0)
		return puts(outcome(-1)), 1;
	execvp(argv[0], argv);
	return 127;
}

static int find_secret(void)
{
	puts(outcome(syscall(SYS_keyctl, SEARCH, SESSION, "user", "secret", 0)));
	return 0;
}

/* Takes every descriptor of a process by pidfd_getfd(2), and looks whether any of them leads to a directory or can be spoken to. */
static int take(int pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	for (int number = 0; number < 64; number++) {
		struct stat status;
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
		if (fd < 0 || fstat(fd, &status) < 0)
			continue;
		printf("%d %s\n", number, S_ISDIR(status.st_mode) ? "directory" : S_ISSOCK(status.st_mode) ? "socket" : S_ISFIFO(status.st_mode) ? "fifo" : "file");
		close(fd);
	}
	return 0;
}

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	puts(outcome(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address)));
	return 0;
}

/* mkdir(2) by every way of calling the kernel that this processor has. */
static int make_directories(void)
{
	printf("native %s\n", outcome(syscall(SYS_mkdirat, AT_FDCWD, "/tmp/native", 0700)));
#ifdef __x86_64__
	static char path[] = "/tmp/compat";
	long result;
	printf("x32 %s\n", outcome(syscall(0x40000000 | SYS_mkdir, "/tmp/x32", 0700)));
	fflush(stdout);
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(39), "b"(path), "c"(0700) : "memory");
	printf("compat %s\n", access(path, F_OK) == 0 ? "done" : "refused");
#endif
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "keyring") == 0)
		return with_secret(argv + 2);
	if (strcmp(what, "find-secret") == 0)
		return find_secret();
	if (strcmp(what, "take") == 0)
		return take(atoi(argv[2]));
	if (strcmp(what, "dial") == 0)
		return dial(argv[2]);
	if (strcmp(what, "mkdir") == 0)
		return make_directories();
	if (strcmp(what, "io_uring") == 0)
		return puts(outcome(syscall(SYS_io_uring_setup, 1, NULL))), 0;
	return 2;
}
