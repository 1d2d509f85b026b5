/*
 * The keeper: what an executor becomes when its plan says `keep`. Order of its life: the socket listens → `kept` → `start` → the gate opens →
 * the program runs (`started`) or can't (`failed`, everything undone) → output is recorded and passed on → the process ends → output is drained →
 * exit record → clients are told → exit plan → the socket goes → exit command.
 */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PIPE_SIZE = 1 << 20,
	DRAIN_MS = 2000,      /* output of others who hold the pipe when the process is gone; docker waits as long */
	FAREWELL_MS = 600000, /* for clients that are slow to take the rest */
	CONTROL_MS = 10000,   /* for the controller to say that it deals with the exit */
	IDLE_MS = 500,
};

int64_t now_milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t now_nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int reg_fd(const struct machine *m, const struct value *value)
{
	return value->kind == VALUE_REG ? (int)m->regs[value->index] : -1;
}

static void make_nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void take_registers(struct keeper *k, const struct op *op)
{
	const struct machine *m = k->machine;
	k->pid = (pid_t)m->regs[op->values[0].index];
	k->pidfd = reg_fd(m, &op->values[1]);
	k->gate = reg_fd(m, &op->values[2]);
	k->report = reg_fd(m, &op->values[3]);
	k->terminal = op->values[7].kind == VALUE_REG;
	k->input = reg_fd(m, &op->values[k->terminal ? 7 : 4]);
	k->output[0] = reg_fd(m, &op->values[k->terminal ? 7 : 5]);
	k->output[1] = k->terminal ? -1 : reg_fd(m, &op->values[6]);
	k->stdin_once = op->number & 1;
	for (uint32_t i = 0; i < k->spec->relay_count && i < MAX_LISTENERS; i++) {
		k->relays.listeners[i] = (int)m->regs[k->spec->relays[i].listen];
		k->relays.to[i] = &k->spec->relays[i];
		make_nonblocking(k->relays.listeners[i]);
		k->relays.listener_count++;
	}
	make_nonblocking(k->input);
	for (int i = 0; i < 2; i++) {
		make_nonblocking(k->output[i]);
		if (k->output[i] >= 0 && !k->terminal)
			fcntl(k->output[i], F_SETPIPE_SZ, PIPE_SIZE); /* what a user may have is limited: then it stays at 64 KiB */
	}
}

static void tell_planner(struct keeper *k, uint32_t type, const void *bytes, size_t size)
{
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	if (k->channel >= 0)
		frame_write(k->channel, k->machine->channel_id, type, &part, 1);
}

static void note_exit_error(void *context, const struct failure *failure)
{
	struct exit_errors *errors = context;
	if (errors->count < sizeof errors->list / sizeof *errors->list)
		errors->list[errors->count++] = *failure;
}

static void run_exit_plan(struct keeper *k, struct exit_errors *errors)
{
	plan_run_all(k->machine, &k->exit_plan, note_exit_error, errors);
}

/* The process never ran its program: it is ended, and all is as before. */
_Noreturn static void undo(struct keeper *k, const struct failure *why)
{
	struct exit_errors ignored = {0};
	struct failure told = why ? *why : (struct failure){0};
	int status;
	syscall(SYS_pidfd_send_signal, k->pidfd, SIGKILL, NULL, 0);
	while (waitpid(k->pid, &status, __WALL) < 0 && errno == EINTR)
		;
	run_exit_plan(k, &ignored);
	if (k->listener >= 0)
		unlink_at(k->spec->socket);
	if (why) {
		struct iovec parts[2] = {{&told, 8}, {told.text, strnlen(told.text, sizeof told.text)}};
		frame_write(k->channel, k->machine->channel_id, MESSAGE_FAILED, parts, 2);
	}
	_exit(why ? 1 : 0);
}

static void read_report(struct keeper *k);

static void set_exit(struct keeper *k, int status)
{
	if (k->report >= 0)
		read_report(k); /* it may say why; then that's the end of it */
	if (k->state == WAITING)
		undo(k, &(struct failure){.op = k->op_id, .error = ECHILD, .text = "the process ended before it was started"});
	k->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	k->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + k->signal;
	k->finished_at = now_nanoseconds();
	k->deadline = now_milliseconds() + DRAIN_MS;
	k->state = EXITED;
}

/* Every child that ended: the process itself and whatever a plan left behind. `gone`: its pidfd says that it has ended. */
static void reap(struct keeper *k, bool gone)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		if (pid == k->pid && k->state < EXITED)
			set_exit(k, status);
	if (gone && k->state < EXITED) /* somebody else's child: how it ended is not for us to know */
		set_exit(k, 255 << 8);
}

static void started(struct keeper *k)
{
	k->state = RUNNING;
	k->buffers_used = true; /* so that what starting took is given back in a while */
	k->started_at = now_nanoseconds();
	tell_planner(k, MESSAGE_STARTED, &k->started_at, sizeof k->started_at);
	if (k->channel >= 0)
		close(k->channel);
	k->channel = -1;
}

static void read_channel(struct keeper *k)
{
	struct frame head;
	uint8_t *payload;
	int error = frame_read(k->channel, &head, &payload);
	free(payload);
	if (!error && head.type == MESSAGE_START && k->state == WAITING) {
		k->state = STARTING;
		if (write(k->gate, "", 1) < 0)
			error = -errno;
		close(k->gate);
		k->gate = -1;
		if (!error && k->report < 0)
			started(k);
		if (!error)
			return;
	}
	if (k->state == WAITING || (error && error != -ECONNRESET))
		undo(k, NULL);
	/* Whoever said `start` didn't wait for the answer: the container runs all the same. */
	close(k->channel);
	k->channel = -1;
}

/* The end of the report: the program is being executed. Anything else is why it isn't. */
static void read_report(struct keeper *k)
{
	struct failure failure;
	int error = wire_read(k->report, &failure, sizeof failure);
	if (!error) {
		failure.text[sizeof failure.text - 1] = 0;
		undo(k, &failure);
	}
	close(k->report);
	k->report = -1;
	if (k->state == STARTING)
		started(k);
}

static bool input_pending(const struct keeper *k)
{
	for (uint32_t i = 0; i < k->client_count; i++)
		if (outbox_pending(&k->clients[i]->input) > 0)
			return true;
	return false;
}

struct slots {
	int channel, report, pidfd, listener, input, output[2], clients, client_count, relays, count;
};

static int add(struct pollfd *p, struct slots *s, int fd, short events)
{
	p[s->count] = (struct pollfd){.fd = fd, .events = events};
	return s->count++;
}

static struct slots fill_poll(struct keeper *k, struct pollfd *p)
{
	struct slots s = {0};
	bool reads = k->state != WAITING && !clients_full(k) && !output_hung_up(k);
	bool writes = input_pending(k);
	s.channel = add(p, &s, k->channel, POLLIN);
	s.report = add(p, &s, k->report, POLLIN);
	s.pidfd = add(p, &s, k->state < EXITED ? k->pidfd : -1, POLLIN);
	s.listener = add(p, &s, k->listener, POLLIN);
	/* A terminal is one descriptor for both. A pipe is watched also without input: its error says that nobody reads. */
	s.input = add(p, &s, k->terminal && !writes ? -1 : k->input, writes ? POLLOUT : 0);
	for (int i = 0; i < 2; i++)
		s.output[i] = add(p, &s, reads ? k->output[i] : -1, POLLIN);
	s.clients = s.count;
	s.client_count = (int)k->client_count;
	for (uint32_t i = 0; i < k->client_count; i++)
		add(p, &s, k->clients[i]->fd, client_events(k, k->clients[i]));
	s.relays = s.count;
	s.count += relays_poll(&k->relays, p + s.count);
	return s;
}

static int poll_timeout(struct keeper *k)
{
	int timeout = clients_drop_stalled(k);
	if (k->buffers_used && (timeout < 0 || timeout > IDLE_MS))
		timeout = IDLE_MS;
	if (output_hung_up(k) && (timeout < 0 || timeout > HUNG_UP_MS))
		timeout = HUNG_UP_MS;
	if (k->state >= EXITED) {
		int64_t left = k->deadline - now_milliseconds();
		left = left < 0 ? 0 : left;
		if (timeout < 0 || left < timeout)
			timeout = (int)left;
	}
	return timeout;
}

static void serve_input(struct keeper *k, short events)
{
	clients_feed_input(k);
	if ((events & POLLERR) && !k->terminal && k->input >= 0) {
		close(k->input);
		k->input = -1;
		clients_feed_input(k);
	}
}

static void serve_once(struct keeper *k)
{
	struct pollfd p[POLL_MAX];
	struct slots s = fill_poll(k, p);
	int ready = poll(p, (nfds_t)s.count, poll_timeout(k));
	if (ready < 0) { /* SIGCHLD */
		reap(k, false);
		return;
	}
	if (ready == 0 && k->buffers_used) {
		output_idle(k);
		return;
	}
	if (p[s.report].revents)
		read_report(k);
	if (p[s.channel].revents && k->channel >= 0)
		read_channel(k);
	output_serve(k, (bool[]){p[s.output[0]].revents, p[s.output[1]].revents});
	for (int i = s.client_count; i-- > 0;)
		if (p[s.clients + i].revents && (uint32_t)i < k->client_count && k->clients[i]->fd == p[s.clients + i].fd)
			client_serve(k, (uint32_t)i, p[s.clients + i].revents);
	if (p[s.input].revents && k->input >= 0)
		serve_input(k, p[s.input].revents);
	relays_serve(&k->relays, p + s.relays);
	if (p[s.listener].revents)
		client_accept(k);
	if (p[s.pidfd].revents)
		reap(k, true);
}

/* Someone is there who deals with exits. */
static bool controlled(const struct keeper *k)
{
	for (uint32_t i = 0; i < k->client_count; i++)
		if (k->clients[i]->fd >= 0 && k->clients[i]->controls)
			return true;
	return false;
}

static bool clients_pending(const struct keeper *k)
{
	for (uint32_t i = 0; i < k->client_count; i++)
		if (k->clients[i]->fd >= 0 && outbox_pending(&k->clients[i]->out) > 0)
			return true;
	return false;
}

/* Input for a process that is gone, and connections to it. */
static void close_process(struct keeper *k)
{
	for (int i = 0; i < 2; i++)
		if (k->output[i] >= 0) {
			log_end(&k->log, i);
			close(k->output[i]);
			k->output[i] = -1;
		}
	k->input = -1;
	clients_feed_input(k);
	log_flush(&k->log);
}

/* Those who connected since the others were told: there is no name any more by which more could come. */
static void tell_late(struct keeper *k, const int32_t *told, size_t size)
{
	struct iovec part = {(void *)(uintptr_t)told, size};
	uint32_t before = k->client_count;
	while (client_accept(k))
		;
	for (uint32_t i = before; i < k->client_count; i++)
		outbox_send(&k->clients[i]->out, k->clients[i]->fd, 0, MESSAGE_EXIT, &part, 1);
}

_Noreturn static void finish(struct keeper *k)
{
	struct exit_errors errors = {0};
	int32_t told[2] = {k->exit_code, k->signal};
	close_process(k);
	write_record(k, &errors);
	clients_send(k, MESSAGE_EXIT, -1, told, sizeof told);
	run_exit_plan(k, &errors);
	if (errors.count > 0)
		write_record(k, &errors);
	unlink_at(k->spec->socket);
	tell_late(k, told, sizeof told);
	close(k->listener);
	k->listener = -1;
	k->state = FINISHED;
	k->relays = (struct relays){0};
	k->deadline = now_milliseconds() + CONTROL_MS;
	while (controlled(k) && !k->acknowledged && now_milliseconds() < k->deadline)
		serve_once(k);
	if (!k->acknowledged)
		run_exit_command(k);
	k->deadline = now_milliseconds() + FAREWELL_MS;
	while (clients_pending(k) && now_milliseconds() < k->deadline)
		serve_once(k);
	_exit(0);
}

static int prepare(struct keeper *k, const struct op *op)
{
	struct machine *m = k->machine;
	int error;
	k->spec = op->keep;
	k->exit_plan = op->body;
	take_registers(k, op);
	if (k->spec->relay_count > MAX_LISTENERS)
		return -E2BIG;
	if (k->spec->log_path && (error = log_open(&k->log, k->spec->log_path, k->spec->log_size, k->spec->log_files)))
		return error;
	k->buffer = mmap(NULL, READ_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (k->buffer == MAP_FAILED)
		return -ENOMEM;
	k->listener = listen_at(k->spec->socket);
	if (k->listener < 0)
		return k->listener;
	close_others(k);
	error = plan_shrink(m, &k->exit_plan, &k->spec);
	if (error)
		return error;
	if (k->spec->log_path)
		k->log.path = k->spec->log_path;
	for (uint32_t i = 0; i < k->relays.listener_count; i++)
		k->relays.to[i] = &k->spec->relays[i];
	malloc_trim(0);
	return 0;
}

void keep_run(struct machine *machine, const struct op *op)
{
	static struct keeper keeper = {.listener = -1, .log.fd = -1};
	struct keeper *k = &keeper;
	int32_t told[2];
	k->machine = machine;
	k->channel = machine->channel;
	k->op_id = op->id;
	detach();
	prctl(PR_SET_NAME, "keel-keeper");
	int error = prepare(k, op);
	if (error)
		undo(k, &(struct failure){.op = k->op_id, .error = -error});
	told[0] = k->pid;
	told[1] = getpid();
	tell_planner(k, MESSAGE_KEPT, told, sizeof told);
	while (k->state < EXITED)
		serve_once(k);
	/* What the process wrote before its end is in the pipes: read to their end, or as long as others who hold them may go on. */
	while ((k->output[0] >= 0 || k->output[1] >= 0) && now_milliseconds() < k->deadline)
		serve_once(k);
	finish(k);
}
