/*
 * Asks the planner what to do and does it as itself, so that parentage, standard streams and signals are the caller's. The call is sent before
 * this program seals itself, so that the planner computes while it does.
 */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "keel.h"
#include "plan.h"
#include "wire.h"

enum { PLANNER_DEADLINE_MS = 15000, CALL_MAX = 4 << 20 };

/* How the first execution hands the connection to the sealed second one. */
static const char handed_fd[] = "KEEL_FRONT_FD", handed_home[] = "KEEL_FRONT_HOME";

struct front {
	int argc;
	char **argv;
	char home[3072];
	int fd;
	bool answered; /* the planner has taken the call: it isn't sent to another one */
};

/* ---- errors of its own: in the log that the caller named, in the format it named, and on standard error ---- */

static const char *flag_value(const struct front *f, const char *name)
{
	size_t length = strlen(name);
	for (int i = 1; i < f->argc && f->argv[i][0] == '-'; i++) {
		if (strncmp(f->argv[i], name, length) != 0)
			continue;
		if (f->argv[i][length] == '=')
			return f->argv[i] + length + 1;
		if (f->argv[i][length] == 0 && i + 1 < f->argc)
			return f->argv[i + 1];
	}
	return NULL;
}

static int complain(const struct front *f, const char *text)
{
	const char *path = flag_value(f, "--log"), *format = flag_value(f, "--log-format");
	bool json = format && strcmp(format, "json") == 0;
	char when[40], line[1024];
	time_t now = time(NULL);
	struct tm utc;
	gmtime_r(&now, &utc);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
	if (json)
		snprintf(line, sizeof line, "{\"level\":\"error\",\"msg\":\"%s\",\"time\":\"%s\"}\n", text, when);
	else
		snprintf(line, sizeof line, "time=\"%s\" level=error msg=\"%s\"\n", when, text);
	int log = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
	if (log >= 0) {
		dprintf(log, "%s", line);
		close(log);
		fprintf(stderr, "%s\n", text);
	} else {
		fprintf(stderr, "%s", line);
	}
	for (int i = 1; i < f->argc; i++)
		if (strcmp(f->argv[i], "exec") == 0)
			return 255;
	return 1;
}

/* ---- the call ---- */

struct text {
	uint8_t *bytes;
	size_t size;
};

static void add(struct text *t, const void *bytes, size_t size)
{
	if (t->size + size > CALL_MAX)
		return; /* the planner refuses a call that ends early */
	memcpy(t->bytes + t->size, bytes, size);
	t->size += size;
}

static void add_u32(struct text *t, uint32_t number)
{
	add(t, &number, sizeof number);
}

static void add_string(struct text *t, const char *string)
{
	size_t size = strlen(string);
	add_u32(t, (uint32_t)size);
	add(t, string, size);
}

static void add_strings(struct text *t, char **strings)
{
	uint32_t count = 0;
	while (strings[count])
		count++;
	add_u32(t, count);
	for (uint32_t i = 0; i < count; i++)
		add_string(t, strings[i]);
}

static uint64_t effective_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	if (syscall(SYS_capget, &header, data) < 0)
		return 0;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

static int send_call(struct front *f)
{
	struct text t = {.bytes = malloc(CALL_MAX)};
	char cwd[4096];
	if (!t.bytes)
		return -ENOMEM;
	mode_t mask = umask(0);
	umask(mask);
	uint64_t capabilities = effective_capabilities();
	uint32_t flags = 0;
	for (int fd = 0; fd < 3; fd++)
		flags |= (uint32_t)(isatty(fd) ? 1 << fd : 0);
	add_u32(&t, WIRE_VERSION);
	add_u32(&t, flags);
	add_u32(&t, (uint32_t)getpid());
	add_u32(&t, geteuid());
	add_u32(&t, getegid());
	add_u32(&t, mask);
	add_u32(&t, (uint32_t)f->fd);
	add(&t, &capabilities, sizeof capabilities);
	add_string(&t, getcwd(cwd, sizeof cwd) ? cwd : "");
	add_strings(&t, f->argv);
	add_strings(&t, environ);
	struct iovec part = {t.bytes, t.size};
	int error = frame_write(f->fd, 0, MESSAGE_CALL, &part, 1);
	free(t.bytes);
	return error;
}

/* ---- what the planner asks for ---- */

static int run_plan(struct front *f, const uint8_t *bytes, size_t size)
{
	struct machine machine = {.channel = f->fd, .report = -1};
	struct op_list ops;
	supervise_prepare();
	int error = plan_decode(&machine, bytes, size, &ops);
	if (error == -ENOMEM)
		machine.failure = (struct failure){.error = ENOMEM};
	if (!error)
		error = plan_run(&machine, &ops);
	if (error) {
		plan_find_cause(&machine);
		struct iovec parts[2] = {{&machine.failure, 8}, {machine.failure.text, strlen(machine.failure.text)}};
		error = frame_write(f->fd, 0, MESSAGE_FAILED, parts, 2);
	} else {
		struct iovec regs = {machine.regs, machine.reg_count * sizeof *machine.regs};
		error = frame_write(f->fd, 0, MESSAGE_DONE, &regs, 1);
	}
	arena_free(&machine.arena);
	return error;
}

static void note_failure(void *context, const struct failure *failure)
{
	*(bool *)context = true;
	(void)failure;
}

/*
 * Waits for the process, then runs the plan that follows the head: what cleans up after it. When all of that succeeds nobody is needed any more.
 * -1: the planner was told and goes on.
 */
static int wait_for_process(struct front *f, const uint8_t *bytes, size_t size)
{
	int32_t head[4]; /* pid, pidfd, terminal or -1, whether to leave by itself */
	if (size < sizeof head)
		return -1;
	memcpy(head, bytes, sizeof head);
	struct supervised process = {.pid = head[0], .pidfd = head[1], .terminal = head[2]};
	int status = supervise(&process);
	bool failed = false;
	if (size > sizeof head) {
		struct machine machine = {.channel = -1, .report = -1};
		struct op_list ops;
		if (plan_decode(&machine, bytes + sizeof head, size - sizeof head, &ops))
			failed = true;
		else
			plan_run_all(&machine, &ops, note_failure, &failed);
		arena_free(&machine.arena);
	}
	int32_t answer[2] = {status, failed};
	struct iovec part = {answer, sizeof answer};
	int error = frame_write(f->fd, 0, MESSAGE_EXITED, &part, 1);
	if (!error && (!head[3] || failed))
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void put_out(const uint8_t *bytes, size_t size)
{
	if (size < 1)
		return;
	int fd = bytes[0] == 1 ? 1 : 2;
	for (bytes++, size--; size > 0;) {
		ssize_t n = write(fd, bytes, size);
		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
		}
	}
}

/* Waits for the next message; the planner sends a sign of life every few seconds while it works. */
static int next_message(struct front *f, struct frame *head, uint8_t **payload)
{
	struct pollfd p = {.fd = f->fd, .events = POLLIN};
	int n;
	do
		n = poll(&p, 1, PLANNER_DEADLINE_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	return frame_read(f->fd, head, payload);
}

/*
 * The planner knows the environment now. What a plan starts is a copy of this process, whose /proc/<pid>/environ a container may come to see before
 * it executes its program.
 */
static void forget_environment(void)
{
	for (char **entry = environ; *entry; entry++)
		memset(*entry, 0, strlen(*entry));
}

/* Nobody is left who knows what a plan has started, so it ends with this process. */
static void end_children(void)
{
	char path[64], text[4096];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	text[size > 0 ? size : 0] = 0;
	for (char *at = text, *end; *at; at = end) {
		long pid = strtol(at, &end, 10);
		if (pid <= 0 || end == at)
			break;
		kill((pid_t)pid, SIGKILL);
		end += *end == ' ';
	}
	if (fd >= 0)
		close(fd);
}

/* The exit code, or -1 to call again: the planner left before it took the call. */
static int serve(struct front *f)
{
	for (;;) {
		struct frame head;
		uint8_t *payload;
		int code = -2, error = next_message(f, &head, &payload);
		if (error) {
			if (error == -ECONNRESET && !f->answered)
				return -1;
			end_children();
			return complain(f, error == -ETIMEDOUT ? "keelson-oci: the planner does not answer" : "keelson-oci: the planner has died");
		}
		f->answered = true;
		switch (head.type) {
		case MESSAGE_ALIVE:
		case MESSAGE_CHUNK: /* for a plan that had failed by then */
		case MESSAGE_CLOSE:
			break;
		case MESSAGE_RUN:
			forget_environment();
			run_plan(f, payload, head.size); /* a planner that is gone is noticed when it is listened to */
			break;
		case MESSAGE_SUPERVISE:
			code = wait_for_process(f, payload, head.size);
			if (code >= 0)
				return code;
			break;
		case MESSAGE_OUTPUT:
			put_out(payload, head.size);
			break;
		case MESSAGE_END:
			return head.size >= 1 ? payload[0] : 1;
		default:
			return complain(f, "keelson-oci: the planner sent an unknown message");
		}
		free(payload);
	}
}

/* In the sealed execution: takes over the connection of the first. */
static bool take_over(struct front *f)
{
	const char *fd = getenv(handed_fd), *home = getenv(handed_home);
	struct stat status;
	if (!fd || !home || !getenv("KEEL_SEALED"))
		return false;
	f->fd = atoi(fd);
	snprintf(f->home, sizeof f->home, "%s", home);
	unsetenv(handed_fd);
	unsetenv(handed_home);
	if (fstat(f->fd, &status) < 0 || !S_ISSOCK(status.st_mode) || fcntl(f->fd, F_SETFD, FD_CLOEXEC) < 0)
		return false;
	return true;
}

static int call(struct front *f)
{
	char text[512] = "";
	f->fd = planner_connect(f->home, text, sizeof text);
	struct timeval deadline = {.tv_sec = PLANNER_DEADLINE_MS / 1000}; /* for the answers that a plan waits for */
	if (f->fd >= 0)
		setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
	int error = f->fd < 0 ? f->fd : send_call(f);
	if (error) {
		char line[700];
		snprintf(line, sizeof line, "keelson-oci: %s: %s", text[0] ? text : "calling the planner", strerror(-error));
		return complain(f, line);
	}
	return -1;
}

/* How many descriptors from 3 on the container gets: the rest of the caller's are none of its business, not even while it is set up. */
static unsigned preserved(const struct front *f)
{
	static const char flag[] = "--preserve-fds";
	const char *listen = getenv("LISTEN_FDS");
	unsigned count = listen ? (unsigned)strtoul(listen, NULL, 10) : 0;
	for (int i = 1; i < f->argc; i++) {
		if (strncmp(f->argv[i], flag, sizeof flag - 1) != 0)
			continue;
		const char *value = f->argv[i] + sizeof flag - 1;
		if (*value == '=')
			count += (unsigned)strtoul(value + 1, NULL, 10);
		else if (*value == 0 && i + 1 < f->argc)
			count += (unsigned)strtoul(f->argv[i + 1], NULL, 10);
	}
	return count < 1 << 16 ? count : 1 << 16;
}

/* An argument like /dev/fd/63, or --status-fd: the planner will have it read or written. */
static bool names_descriptor(const struct front *f)
{
	for (int i = 1; i < f->argc; i++)
		if (strstr(f->argv[i], "/dev/fd/") || strstr(f->argv[i], "/proc/self/fd/") || strncmp(f->argv[i], "--status-fd", 11) == 0)
			return true;
	return false;
}

int front_main(int argc, char **argv)
{
	struct front f = {.argc = argc, .argv = argv, .fd = -1};
	int code;
	prctl(PR_SET_NAME, "keelson-oci");
	signal(SIGPIPE, SIG_IGN);
	if (!take_over(&f)) {
		char number[16];
		if (!names_descriptor(&f))
			close_range(3 + preserved(&f), ~0U, 0);
		if (planner_home(f.home, sizeof f.home))
			return complain(&f, "keelson-oci: can't tell where it is installed (is /proc mounted?)");
		if ((code = call(&f)) >= 0)
			return code;
		snprintf(number, sizeof number, "%d", f.fd);
		setenv(handed_fd, number, 1);
		setenv(handed_home, f.home, 1);
		fcntl(f.fd, F_SETFD, 0);
	}
	int error = seal_self(argv);
	if (error)
		return complain(&f, "keelson-oci: can't make itself read-only");
	fcntl(f.fd, F_SETFD, FD_CLOEXEC);
	unsetenv(handed_fd);
	unsetenv(handed_home);
	prctl(PR_SET_DUMPABLE, 0);
	for (int tries = 0; tries < 5; tries++) {
		if ((code = serve(&f)) >= 0)
			return code;
		close(f.fd);
		if ((code = call(&f)) >= 0)
			return code;
	}
	return complain(&f, "keelson-oci: the planner leaves before it answers");
}
