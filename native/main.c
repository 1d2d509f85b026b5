/* keel: runs plans and keeps containers. See docs/keel.md. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "build/ops.h"
#include "keel.h"

/* A standard stream that is closed would be the first descriptor that a plan opens. */
static int fill_standard_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
			return -errno;
	return 0;
}

static int serve_zygote(char **argv)
{
	const int client = 3;
	int error = seal_self(argv);
	if (error) {
		fprintf(stderr, "keel: can't make itself read-only: %s\n", strerror(-error));
		return 1;
	}
	if (fcntl(client, F_SETFD, FD_CLOEXEC) < 0) {
		fprintf(stderr, "keel: zygote: a stream to the planner is expected as descriptor 3\n");
		return 2;
	}
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "keel"); /* executed by descriptor, it would be called by its number */
	return zygote_run(client);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	if (fill_standard_streams())
		return 1;
	reset_signals();
	mallopt(M_MMAP_THRESHOLD, 16 << 10); /* what is freed is the kernel's again: keepers live long */
	if (strcmp(command, "--version") == 0) {
		printf("keel %s (wire version %d)\n", KEEL_VERSION, WIRE_VERSION);
		return 0;
	}
	if (strcmp(command, "init") == 0 && argc > 2)
		return keel_init(argv + 2);
	if (strcmp(command, "zygote") == 0 && argc == 2)
		return serve_zygote(argv);
	fprintf(stderr, "usage: keel --version | keel init COMMAND… | keel zygote (with the planner's stream as descriptor 3)\n");
	return 2;
}
