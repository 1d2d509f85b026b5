/*
 * Plans: the operations of src/kernel/plan.ts as keel holds and runs them. plan.c decodes and validates, run.c executes;
 * decoding touches nothing but memory, so that it can be fuzzed.
 */
#ifndef KEEL_PLAN_H
#define KEEL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "build/ops.h"

enum {
	NO_REG = UINT32_MAX,
	MAX_REGISTERS = 1 << 16,
	MAX_BLOBS = 1 << 16,
	MAX_BLOB_BYTES = 64 << 20,
	MAX_DEPTH = 16,
};

struct arena {
	struct arena_block *blocks;
};

void *arena_alloc(struct arena *arena, size_t size); /* zeroed, aligned to 16; NULL when memory is out */
void arena_free(struct arena *arena);

/* As on the wire. `number` is the immediate, or the offset into the blob. */
struct value {
	uint32_t kind, index;
	int64_t number;
};

/* As on the wire. `error` 0 matches every errno; `argument` is the operation jumped to, or milliseconds. */
struct rule {
	int32_t error;
	uint32_t then, argument;
};

struct op_list {
	uint32_t count;
	struct op *ops;
};

struct op {
	uint16_t code, value_count, rule_count, flags;
	uint32_t id; /* where it stands among all operations sent on this channel, in the order they were written */
	uint32_t dst, number, target;
	struct value *values;
	struct rule *rules;
	struct op_list body; /* clone: the child's operations; keep: the exit plan */
	struct keep_spec *keep;
};

struct keep_relay {
	uint32_t listen; /* register */
	uint32_t size;
	uint8_t to[128]; /* struct sockaddr */
};

struct keep_spec {
	char *log_path; /* NULL: no log */
	uint64_t log_size;
	uint32_t log_files;
	char *socket, *exit_record;
	uint32_t snapshot_count, relay_count, command_count;
	char **snapshots;
	struct keep_relay *relays;
	char **command; /* NULL-terminated argv */
};

struct blob {
	uint8_t *data;
	uint32_t size;
};

/* Where a blob's 8-byte slot holds another blob's address. */
struct blob_pointer {
	uint32_t blob, at, to, offset;
};

struct failure {
	uint32_t op;
	int32_t error;
	char text[480];
};

/* One plan being executed: the state that its operations share. */
struct machine {
	int channel; /* stream to the planner, or -1 */
	uint32_t channel_id;
	int report; /* the write end on which a clone's failure travels, or -1 */
	int child_report; /* the read end of the last child's, 0 when there is none or it was awaited */
	struct arena arena;
	int64_t *regs;
	uint32_t reg_count;
	struct blob *blobs;
	uint32_t blob_count;
	struct blob_pointer *pointers;
	uint32_t pointer_count;
	struct failure failure;
};

/*
 * Decodes a plan, or a chunk that goes on with the machine's registers and blobs. Every index in `ops` is in bounds afterwards.
 * 0, -EINVAL (text in failure) or -ENOMEM.
 */
int plan_decode(struct machine *machine, const uint8_t *bytes, size_t size, struct op_list *ops);

/* Runs the operations. 0, or -errno with `failure` filled in. */
int plan_run(struct machine *machine, const struct op_list *ops);

/*
 * After a failure: where a child that was not awaited has failed as well, that is the cause, and becomes `failure`. (What the parent does to
 * a child that is gone fails with ESRCH, which says nothing.)
 */
void plan_find_cause(struct machine *machine);

/* Like plan_run, but goes on after a failing operation; `failed` is told of each. */
void plan_run_all(struct machine *machine, const struct op_list *ops, void (*failed)(void *, const struct failure *), void *context);

/* Runs the plan in `bytes`, part of the malloc'd `buffer`, as this process, which ends with it: reports to the channel and exits. */
_Noreturn void plan_execute(int channel, uint32_t channel_id, const uint8_t *bytes, size_t size, void *buffer);

/*
 * Gives back all memory but what `ops`, one of the machine's lists, and `keep` need: they, their blobs and the registers move.
 * Decodes no further chunks' pointers afterwards.
 */
int plan_shrink(struct machine *machine, struct op_list *ops, const struct keep_spec **keep);

int64_t value_of(const struct machine *machine, const struct value *value);

/* netlink.c. Bytes of answers, or -errno with the kernel's own words in `text` if it had any. */
int64_t netlink_exchange(int fd, const uint8_t *request, size_t size, uint32_t acks, uint8_t *answer, size_t answer_size, char *text,
			 size_t text_size);

/* keep.c. What this process does from now on. */
_Noreturn void keep_run(struct machine *machine, const struct op *op);

#endif
