/* Runs plans. */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pack.h"
#include "unpack.h"
#include "wire.h"

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

int64_t value_of(const struct machine *machine, const struct value *value)
{
	switch (value->kind) {
	case VALUE_IMM:
		return value->number;
	case VALUE_REG:
		return machine->regs[value->index];
	case VALUE_BLOB:
		return (int64_t)(uintptr_t)(machine->blobs[value->index].data + value->number);
	default:
		return 0;
	}
}

static void set_dst(struct machine *m, const struct op *op, int64_t value)
{
	if (op->dst != NO_REG)
		m->regs[op->dst] = value;
}

static int failed(struct machine *m, const struct op *op, int64_t error)
{
	m->failure.op = op->id;
	m->failure.error = (int32_t)-error;
	return (int)error;
}

static bool is_error(int64_t result)
{
	return result < 0 && result >= -4095;
}

static int64_t call_kernel(struct machine *m, const struct op *op)
{
	int64_t a[6] = {0};
	for (uint32_t i = 0; i < op->value_count; i++)
		a[i] = value_of(m, &op->values[i]);
	for (;;) {
		int64_t result = syscall((long)op->number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (result != -1)
			return result;
		if (errno != EINTR)
			return -errno;
	}
}

static int64_t write_all(struct machine *m, const struct op *op)
{
	int fd = (int)value_of(m, &op->values[0]);
	const struct value *at = &op->values[1];
	int64_t size = value_of(m, &op->values[2]);
	if (size < 0 || size > (int64_t)m->blobs[at->index].size - at->number)
		return -EFAULT;
	const uint8_t *bytes = m->blobs[at->index].data + at->number;
	do {
		ssize_t n = write(fd, bytes, (size_t)size);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		bytes += n;
		size -= n;
	} while (size > 0);
	return 0;
}

static int64_t send_netlink(struct machine *m, const struct op *op)
{
	const struct value *v = op->values;
	bool wants = v[4].kind == VALUE_BLOB;
	return netlink_exchange((int)value_of(m, &v[0]), (uint8_t *)(uintptr_t)value_of(m, &v[1]), (size_t)v[2].number,
				(uint32_t)v[3].number, wants ? (uint8_t *)(uintptr_t)value_of(m, &v[4]) : NULL,
				wants ? (size_t)v[5].number : 0, m->failure.text, sizeof m->failure.text);
}

static int64_t unpack(struct machine *m, const struct op *op)
{
	struct keel_error error = {{0}};
	int64_t result = keel_unpack((int)value_of(m, &op->values[0]), (int)value_of(m, &op->values[1]), op->number, &error);
	if (result < 0)
		snprintf(m->failure.text, sizeof m->failure.text, "%s", error.text);
	return result;
}

/* A text in a blob; NULL when it has no end there. */
static const char *text_of(const struct machine *m, const struct value *value)
{
	const struct blob *blob = &m->blobs[value->index];
	size_t left = blob->size - (size_t)value->number;
	return left && memchr(blob->data + value->number, 0, left) ? (const char *)blob->data + value->number : NULL;
}

static int64_t pack(struct machine *m, const struct op *op)
{
	struct keel_error error = {{0}};
	const char *path = text_of(m, &op->values[1]), *name = text_of(m, &op->values[3]);
	if (!path || !name)
		return -EINVAL;
	int64_t result = keel_pack((int)value_of(m, &op->values[0]), path, name, (int)value_of(m, &op->values[2]), op->number, &error);
	if (result < 0)
		snprintf(m->failure.text, sizeof m->failure.text, "%s", error.text);
	return result;
}

static int64_t milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The first rule that settles `error`; NULL: none does. A `retry` counts until its time is up, then those after it. */
static const struct rule *rule_for(const struct op *op, int error, int64_t waited)
{
	for (uint32_t i = 0; i < op->rule_count; i++) {
		const struct rule *rule = &op->rules[i];
		if (rule->error != 0 && rule->error != error)
			continue;
		if (rule->then != RULE_RETRY || waited < rule->argument)
			return rule;
	}
	return NULL;
}

/* Runs an operation that may fail, under its rules. */
static int attempt(struct machine *m, const struct op *op, int64_t (*call)(struct machine *, const struct op *), uint32_t *next)
{
	int64_t began = 0;
	for (;;) {
		m->failure.text[0] = 0;
		int64_t result = call(m, op);
		if (!is_error(result)) {
			set_dst(m, op, result);
			return 0;
		}
		if (op->rule_count > 0 && began == 0)
			began = milliseconds();
		const struct rule *rule = rule_for(op, (int)-result, op->rule_count > 0 ? milliseconds() - began : 0);
		if (rule == NULL)
			return failed(m, op, result);
		if (rule->then == RULE_RETRY) {
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
			continue;
		}
		set_dst(m, op, result);
		if (rule->then == RULE_JUMP)
			*next = rule->argument;
		return 0;
	}
}

static void peek(struct machine *m, const struct op *op)
{
	unsigned width = op->number & 0xff;
	uint64_t value = 0;
	memcpy(&value, m->blobs[op->values[0].index].data + op->values[0].number, width);
	if ((op->number & 0x100) && width < 8) {
		unsigned shift = 64 - 8 * width;
		value = (uint64_t)((int64_t)(value << shift) >> shift);
	}
	set_dst(m, op, (int64_t)value);
}

static void poke(struct machine *m, const struct op *op)
{
	int64_t value = value_of(m, &op->values[1]);
	memcpy(m->blobs[op->values[0].index].data + op->values[0].number, &value, op->number & 0xff);
}

static int format_digits(struct machine *m, const struct op *op)
{
	const struct value *at = &op->values[0];
	char digits[24];
	int count = snprintf(digits, sizeof digits, op->number == 8 ? "%llo" : "%lld", (long long)value_of(m, &op->values[1]));
	if (count + 1 > (int64_t)m->blobs[at->index].size - at->number)
		return failed(m, op, -EOVERFLOW);
	memcpy(m->blobs[at->index].data + at->number, digits, (size_t)count + 1);
	set_dst(m, op, count);
	return 0;
}

static bool holds(const struct machine *m, const struct op *op)
{
	int64_t left = value_of(m, &op->values[0]), right = value_of(m, &op->values[1]);
	switch (op->number) {
	case COMPARE_EQ:
		return left == right;
	case COMPARE_NE:
		return left != right;
	case COMPARE_LT:
		return left < right;
	case COMPARE_GE:
		return left >= right;
	default:
		return (left & right) != 0;
	}
}

static int fail_op(struct machine *m, const struct op *op)
{
	int64_t error = value_of(m, &op->values[0]);
	m->failure.text[0] = 0;
	if (error > 0)
		error = -error;
	return failed(m, op, is_error(error) ? error : -EINVAL);
}

/* What a clone's child does: its operations, and its failure into the pipe, its own or the one its parent has. Never returns. */
_Noreturn static void run_child(struct machine *m, const struct op *op, int report)
{
	if (report >= 0) {
		if (m->report >= 0)
			close(m->report); /* the parent's: its end is not to wait for this one's */
		m->report = report;
	}
	m->child_report = 0;
	if (plan_run(m, &op->body) == 0)
		_exit(0);
	/* A pipe takes this whole or, when nobody waits for it any more, not at all. */
	ssize_t n = write(m->report, &m->failure, sizeof m->failure);
	_exit(n < 0 ? 2 : 1);
}

/*
 * The raw system call: fork(3)'s handlers aren't run, which is right as long as keel has a single thread and keeps no lock. The pipe is close-on-exec,
 * so that its end of file tells of an execve(2) that succeeded.
 */
static int clone_child(struct machine *m, const struct op *op)
{
	int ends[2] = {-1, -1}, pidfd = -1;
	bool reports = op->values[1].kind == VALUE_REG;
	struct clone_args args = {.flags = (uint64_t)op->values[0].number, .exit_signal = op->number};
	m->failure.text[0] = 0;
	if (op->values[2].kind == VALUE_REG) {
		args.flags |= CLONE_PIDFD;
		args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	}
	if (op->values[3].kind != VALUE_NONE) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)value_of(m, &op->values[3]);
	}
	if (reports ? pipe2(ends, O_CLOEXEC) < 0 : m->report < 0)
		return failed(m, op, reports ? -errno : -EINVAL);
	long pid = syscall(SYS_clone3, &args, sizeof args);
	int error = pid < 0 ? -errno : 0;
	if (reports && pid <= 0)
		close(ends[0]);
	if (reports && pid != 0)
		close(ends[1]);
	if (error)
		return failed(m, op, error);
	set_dst(m, op, pid);
	if (pid == 0)
		run_child(m, op, ends[1]);
	if (reports) {
		m->child_report = ends[0];
		m->regs[op->values[1].index] = ends[0];
	}
	if (op->values[2].kind == VALUE_REG)
		m->regs[op->values[2].index] = pidfd;
	return 0;
}

static int await_child(struct machine *m, const struct op *op)
{
	struct failure theirs;
	int fd = (int)m->regs[op->values[0].index];
	int error = wire_read(fd, &theirs, sizeof theirs);
	close(fd);
	if (fd == m->child_report)
		m->child_report = 0;
	if (error == -ECONNRESET)
		return 0;
	if (error)
		return failed(m, op, error);
	theirs.text[sizeof theirs.text - 1] = 0;
	m->failure = theirs;
	return theirs.error > 0 ? -theirs.error : -EINVAL;
}

static int send_report(struct machine *m, const struct op *op, uint32_t type)
{
	struct iovec parts[2 + 3 * 255];
	uint32_t head[2] = {op->number, 0}, blob_count = 0, sizes[255];
	int64_t regs[255];
	int used = 3;
	for (uint32_t i = 0; i < op->value_count; i++) {
		const struct value *value = &op->values[i];
		if (value->kind == VALUE_REG) {
			regs[head[1]++] = m->regs[value->index];
			continue;
		}
		uint32_t *size = &sizes[blob_count++];
		*size = m->blobs[value->index].size - (uint32_t)value->number;
		parts[used++] = (struct iovec){size, sizeof *size};
		parts[used++] = (struct iovec){m->blobs[value->index].data + value->number, *size};
	}
	parts[0] = (struct iovec){head, sizeof head};
	parts[1] = (struct iovec){regs, head[1] * sizeof *regs};
	parts[2] = (struct iovec){&blob_count, sizeof blob_count};
	m->failure.text[0] = 0;
	int error = frame_write(m->channel, m->channel_id, type, parts, used);
	return error ? failed(m, op, error) : 0;
}

static const uint32_t unasked = 0xffffffff; /* the tag of a sync that says nothing */

/* The chunk may come unasked. Its memory stays with the machine: its blobs may be used by what follows. */
static int sync_with_planner(struct machine *m, const struct op *op)
{
	struct frame head;
	uint8_t *payload;
	struct op_list chunk;
	int error = op->number != unasked ? send_report(m, op, MESSAGE_SYNC) : 0;
	if (error)
		return error;
	for (;;) {
		error = frame_read(m->channel, &head, &payload);
		if (error)
			return failed(m, op, error);
		if (head.type != MESSAGE_ALIVE)
			break;
		free(payload); /* the answer takes its time */
	}
	if (head.type != MESSAGE_CHUNK) {
		free(payload);
		return failed(m, op, -EPROTO);
	}
	error = plan_decode(m, payload, head.size, &chunk);
	free(payload);
	if (error)
		return failed(m, op, error);
	return plan_run(m, &chunk);
}

static int step(struct machine *m, const struct op *op, uint32_t *next)
{
	switch (op->code) {
	case OP_SYSCALL:
		return attempt(m, op, call_kernel, next);
	case OP_WRITE:
		return attempt(m, op, write_all, next);
	case OP_NETLINK:
		return attempt(m, op, send_netlink, next);
	case OP_UNPACK:
		return attempt(m, op, unpack, next);
	case OP_PACK:
		return attempt(m, op, pack, next);
	case OP_POKE:
		poke(m, op);
		return 0;
	case OP_PEEK:
		peek(m, op);
		return 0;
	case OP_SET:
		set_dst(m, op, value_of(m, &op->values[0]));
		return 0;
	case OP_FORMAT:
		return format_digits(m, op);
	case OP_JUMP:
		*next = op->target;
		return 0;
	case OP_BRANCH:
		if (holds(m, op))
			*next = op->target;
		return 0;
	case OP_FAIL:
		return fail_op(m, op);
	case OP_CLONE:
		return clone_child(m, op);
	case OP_AWAIT:
		return await_child(m, op);
	case OP_SYNC:
		return sync_with_planner(m, op);
	case OP_REPORT:
		return send_report(m, op, MESSAGE_REPORT);
	case OP_KEEP:
		keep_run(m, op);
	default:
		return failed(m, op, -ENOSYS); /* plan_decode lets no other through */
	}
}

int plan_run(struct machine *machine, const struct op_list *ops)
{
	uint32_t at = 0;
	while (at < ops->count) {
		uint32_t next = at + 1;
		int error = step(machine, &ops->ops[at], &next);
		if (error)
			return error;
		at = next;
	}
	return 0;
}

void plan_run_all(struct machine *machine, const struct op_list *ops, void (*tell)(void *, const struct failure *), void *context)
{
	uint32_t at = 0;
	while (at < ops->count) {
		uint32_t next = at + 1;
		if (step(machine, &ops->ops[at], &next))
			tell(context, &machine->failure);
		at = next;
	}
}

void plan_find_cause(struct machine *m)
{
	struct pollfd child = {.fd = m->child_report, .events = POLLIN};
	struct failure theirs;
	if (m->child_report <= 0 || poll(&child, 1, 0) != 1 || !(child.revents & POLLIN))
		return;
	if (wire_read(m->child_report, &theirs, sizeof theirs))
		return;
	theirs.text[sizeof theirs.text - 1] = 0;
	m->failure = theirs;
}

void plan_execute(int channel, uint32_t channel_id, const uint8_t *bytes, size_t size, void *buffer)
{
	struct machine machine = {.channel = channel, .channel_id = channel_id, .report = -1};
	struct op_list ops;
	int error = plan_decode(&machine, bytes, size, &ops);
	free(buffer);
	if (error == -ENOMEM)
		machine.failure = (struct failure){.error = ENOMEM};
	if (!error)
		error = plan_run(&machine, &ops);
	if (!error) {
		struct iovec regs = {machine.regs, machine.reg_count * sizeof *machine.regs};
		_exit(frame_write(channel, channel_id, MESSAGE_DONE, &regs, 1) ? 2 : 0);
	}
	plan_find_cause(&machine);
	struct iovec parts[2] = {{&machine.failure, 8}, {machine.failure.text, strlen(machine.failure.text)}};
	frame_write(channel, channel_id, MESSAGE_FAILED, parts, 2);
	_exit(1);
}
