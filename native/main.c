/* keel: runs plans and keeps containers. See docs/keel.md. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "build/ops.h"
#include "front.h"
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

/* Whether this program was called by the name of the OCI runtime, or of one that it was put in the place of. */
static bool called_as_runtime(const char *name)
{
	const char *slash = strrchr(name, '/');
	name = slash ? slash + 1 : name;
	return strcmp(name, "keelson-oci") == 0 || strcmp(name, "runc") == 0 || strcmp(name, "crun") == 0;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	if (fill_standard_streams())
		return 1;
	reset_signals();
	mallopt(M_MMAP_THRESHOLD, 16 << 10); /* what is freed is the kernel's again: keepers live long */
	if (argc > 0 && called_as_runtime(argv[0]))
		return front_main(argc, argv);
	if (strcmp(command, "oci") == 0) {
		argv[1] = "keelson-oci"; /* what it is called by when it executes itself again */
		return front_main(argc - 1, argv + 1);
	}
	if (strcmp(command, "--version") == 0) {
		printf("keel %s (wire version %d)\n", KEEL_VERSION, WIRE_VERSION);
		return 0;
	}
	if (strcmp(command, "init") == 0 && argc > 2)
		return keel_init(argv + 2);
	if (strcmp(command, "zygote") == 0 && argc == 2)
		return serve_zygote(argv);
	fprintf(stderr, "usage: keel --version | keel oci … | keel init COMMAND… | keel zygote (with the planner's stream as descriptor 3)\n");
	return 2;
}
