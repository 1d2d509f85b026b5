/* Decodes plans. Everything a running operation will index with is checked here, once. */
#include "plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct reader {
	struct machine *machine;
	const uint8_t *at, *end;
	uint32_t next_id;
	uint32_t first_blob, blob_count; /* of this message; in all */
	int depth;
};

/*
 * What an operation's values may be: i immediate, r register, b blob, v any of these; capital: or none; '*': the last one any number of times.
 */
struct shape {
	const char *values;
	bool needs_dst, may_have_dst, may_have_rules, has_target;
};

static const struct shape shapes[] = {
	[OP_SYSCALL] = {"VVVVVV", false, true, true, false},
	[OP_POKE] = {"bv", false, false, false, false},
	[OP_PEEK] = {"b", true, true, false, false},
	[OP_SET] = {"v", true, true, false, false},
	[OP_FORMAT] = {"bv", false, true, false, false},
	[OP_JUMP] = {"", false, false, false, true},
	[OP_BRANCH] = {"vv", false, false, false, true},
	[OP_FAIL] = {"v", false, false, false, false},
	[OP_CLONE] = {"iRRV", true, true, false, false}, /* flags, report, pidfd, cgroup */
	[OP_AWAIT] = {"r", false, false, false, false},
	[OP_SYNC] = {"v*", false, false, false, false},
	[OP_REPORT] = {"v*", false, false, false, false},
	[OP_NETLINK] = {"vbiiBi", false, true, true, false}, /* socket, messages, their size, acks, answer, its size */
	[OP_WRITE] = {"vbv", false, false, true, false},
	[OP_UNPACK] = {"vv", false, true, false, false},
	[OP_PACK] = {"vbvb", false, true, false, false}, /* root, path, to, name */
	[OP_KEEP] = {"rrrrRRRR", false, false, false, false}, /* pid, pidfd, gate, report, stdin, stdout, stderr, terminal */
};

static int bad(struct reader *in, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	in->machine->failure.op = in->next_id;
	in->machine->failure.error = EINVAL;
	vsnprintf(in->machine->failure.text, sizeof in->machine->failure.text, format, args);
	va_end(args);
	return -EINVAL;
}

static int take(struct reader *in, void *into, size_t size)
{
	if ((size_t)(in->end - in->at) < size)
		return bad(in, "the plan ends early");
	if (size > 0)
		memcpy(into, in->at, size);
	in->at += size;
	return 0;
}

/* A counted array whose elements take at least `each` bytes on the wire, so that no count can ask for more than was sent. */
static int take_count(struct reader *in, uint32_t *count, size_t each)
{
	int error = take(in, count, sizeof *count);
	if (error)
		return error;
	if (*count > (size_t)(in->end - in->at) / each)
		return bad(in, "a count of %u is more than the plan holds", *count);
	return 0;
}

static int alloc(struct reader *in, void *into, size_t count, size_t size)
{
	void *memory = arena_alloc(&in->machine->arena, count * size);
	if (!memory)
		return -ENOMEM;
	memcpy(into, &memory, sizeof memory);
	return 0;
}

static int check_value(struct reader *in, const struct value *value, char wanted)
{
	const struct machine *m = in->machine;
	char kind = (char)(wanted | 0x20);
	switch (value->kind) {
	case VALUE_NONE:
		return kind != wanted ? 0 : bad(in, "a value is missing");
	case VALUE_IMM:
		return kind == 'i' || kind == 'v' ? 0 : bad(in, "an immediate where none may be");
	case VALUE_REG:
		if (kind != 'r' && kind != 'v')
			return bad(in, "a register where none may be");
		return value->index < m->reg_count ? 0 : bad(in, "no register %u", value->index);
	case VALUE_BLOB:
		if (kind != 'b' && kind != 'v')
			return bad(in, "a blob where none may be");
		if (value->index >= in->blob_count)
			return bad(in, "no blob %u", value->index);
		if (value->number < 0 || value->number > m->blobs[value->index].size)
			return bad(in, "offset %lld is not in blob %u", (long long)value->number, value->index);
		return 0;
	default:
		return bad(in, "unknown kind of value %u", value->kind);
	}
}

/* blob[offset, size] exists. */
static int check_span(struct reader *in, const struct value *value, int64_t size)
{
	if (size < 0 || size > (int64_t)in->machine->blobs[value->index].size - value->number)
		return bad(in, "%lld bytes at %lld are not in blob %u", (long long)size, (long long)value->number, value->index);
	return 0;
}

static int take_values(struct reader *in, struct op *op, const struct shape *shape)
{
	size_t wanted = strlen(shape->values);
	bool many = wanted > 0 && shape->values[wanted - 1] == '*';
	int error = alloc(in, &op->values, op->value_count, sizeof *op->values);
	if (error || (error = take(in, op->values, op->value_count * sizeof *op->values)))
		return error;
	if (many ? op->value_count > 255 : op->value_count != wanted && op->code != OP_SYSCALL)
		return bad(in, "%u values are too many or too few", op->value_count);
	if (op->code == OP_SYSCALL && op->value_count > 6)
		return bad(in, "a system call takes 6 arguments at most");
	for (uint32_t i = 0; i < op->value_count; i++) {
		error = check_value(in, &op->values[i], many ? shape->values[0] : shape->values[i]);
		if (error)
			return error;
	}
	return 0;
}

static int take_rules(struct reader *in, struct op *op, uint32_t list_count)
{
	int error = alloc(in, &op->rules, op->rule_count, sizeof *op->rules);
	if (error || (error = take(in, op->rules, op->rule_count * sizeof *op->rules)))
		return error;
	for (uint32_t i = 0; i < op->rule_count; i++) {
		const struct rule *rule = &op->rules[i];
		if (rule->then < RULE_CONTINUE || rule->then > RULE_RETRY)
			return bad(in, "unknown kind of rule %u", rule->then);
		if (rule->then == RULE_JUMP && rule->argument > list_count)
			return bad(in, "a rule jumps to %u, out of its list", rule->argument);
	}
	return 0;
}

static int take_string(struct reader *in, char **text, bool optional)
{
	uint32_t size = 0;
	int error = take_count(in, &size, 1);
	if (error)
		return error;
	if (size == 0 && optional) {
		*text = NULL;
		return 0;
	}
	if (size == 0 || size > 1 << 20)
		return bad(in, "a string of %u bytes", size);
	if ((error = alloc(in, text, size + 1, 1)) || (error = take(in, *text, size)))
		return error;
	return memchr(*text, 0, size) ? bad(in, "a NUL in a string") : 0;
}

static int take_strings(struct reader *in, char ***list, uint32_t *count)
{
	int error = take_count(in, count, 4);
	if (error || (error = alloc(in, list, *count + 1, sizeof **list)))
		return error;
	for (uint32_t i = 0; i < *count && !error; i++)
		error = take_string(in, &(*list)[i], false);
	return error;
}

static int take_relays(struct reader *in, struct keep_spec *keep)
{
	int error = take_count(in, &keep->relay_count, 8);
	if (error || (error = alloc(in, &keep->relays, keep->relay_count, sizeof *keep->relays)))
		return error;
	for (uint32_t i = 0; i < keep->relay_count; i++) {
		struct keep_relay *relay = &keep->relays[i];
		if ((error = take(in, &relay->listen, 4)) || (error = take(in, &relay->size, 4)))
			return error;
		if (relay->listen >= in->machine->reg_count)
			return bad(in, "no register %u", relay->listen);
		if (relay->size > sizeof relay->to || relay->size < 2)
			return bad(in, "a socket address of %u bytes", relay->size);
		if ((error = take(in, relay->to, relay->size)))
			return error;
	}
	return 0;
}

static int take_list(struct reader *in, struct op_list *list);

static int take_keep(struct reader *in, struct op *op)
{
	struct keep_spec *keep;
	int error = alloc(in, &keep, 1, sizeof *keep);
	if (error)
		return error;
	op->keep = keep;
	if ((error = take_string(in, &keep->log_path, true)) || (error = take(in, &keep->log_size, 8)) ||
	    (error = take(in, &keep->log_files, 4)) || (error = take_string(in, &keep->socket, false)) ||
	    (error = take_string(in, &keep->exit_record, false)) ||
	    (error = take_strings(in, &keep->snapshots, &keep->snapshot_count)) ||
	    (error = take_strings(in, &keep->command, &keep->command_count)) || (error = take_relays(in, keep)))
		return error;
	return take_list(in, &op->body);
}

static int check_sizes(struct reader *in, const struct op *op)
{
	uint32_t width = op->number & 0xff;
	switch (op->code) {
	case OP_POKE:
	case OP_PEEK:
		if (width != 1 && width != 2 && width != 4 && width != 8)
			return bad(in, "a field of %u bytes", width);
		return check_span(in, &op->values[0], width);
	case OP_BRANCH:
		return op->number >= COMPARE_EQ && op->number <= COMPARE_AND ? 0 : bad(in, "unknown comparison %u", op->number);
	case OP_FAIL:
		return op->values[0].kind != VALUE_BLOB ? 0 : bad(in, "a blob is no errno");
	case OP_SYNC:
	case OP_REPORT:
		for (uint32_t i = 0; i < op->value_count; i++)
			if (op->values[i].kind == VALUE_IMM)
				return bad(in, "an immediate can't be reported");
		return 0;
	case OP_NETLINK: {
		int error = check_span(in, &op->values[1], op->values[2].number);
		if (!error && op->values[4].kind == VALUE_BLOB)
			error = check_span(in, &op->values[4], op->values[5].number);
		return error;
	}
	default:
		return 0;
	}
}

static int take_op(struct reader *in, struct op *op, uint32_t list_count)
{
	struct {
		uint16_t code, values, rules, flags;
		uint32_t dst, number, target;
	} head;
	int error = take(in, &head, sizeof head);
	if (error)
		return error;
	if (head.code >= sizeof shapes / sizeof *shapes || !shapes[head.code].values)
		return bad(in, "unknown operation %u", head.code);
	const struct shape *shape = &shapes[head.code];
	*op = (struct op){.code = head.code, .value_count = head.values, .rule_count = head.rules, .flags = head.flags};
	op->id = in->next_id;
	op->dst = head.dst;
	op->number = head.number;
	op->target = head.target;
	if (head.dst != NO_REG && (!shape->may_have_dst || head.dst >= in->machine->reg_count))
		return bad(in, "no register %u", head.dst);
	if (head.dst == NO_REG && shape->needs_dst)
		return bad(in, "an operation without the register it needs");
	if (head.rules > 0 && !shape->may_have_rules)
		return bad(in, "rules where none may be");
	if (shape->has_target && head.target > list_count)
		return bad(in, "a jump to %u, out of its list", head.target);
	if ((error = take_values(in, op, shape)) || (error = take_rules(in, op, list_count)) || (error = check_sizes(in, op)))
		return error;
	in->next_id++;
	if (op->code == OP_CLONE)
		return take_list(in, &op->body);
	return op->code == OP_KEEP ? take_keep(in, op) : 0;
}

static int take_list(struct reader *in, struct op_list *list)
{
	if (in->depth >= MAX_DEPTH)
		return bad(in, "operations are nested too deeply");
	in->depth++;
	int error = take_count(in, &list->count, 20);
	if (error || (error = alloc(in, &list->ops, list->count, sizeof *list->ops)))
		return error;
	for (uint32_t i = 0; i < list->count && !error; i++)
		error = take_op(in, &list->ops[i], list->count);
	in->depth--;
	return error;
}

/* Makes room for `count` registers in all; those there keep their content. */
static int grow_registers(struct reader *in, uint32_t count)
{
	struct machine *m = in->machine;
	int64_t *regs;
	if (count <= m->reg_count)
		return 0;
	if (count > MAX_REGISTERS)
		return bad(in, "%u registers are too many", count);
	int error = alloc(in, &regs, count, sizeof *regs);
	if (error)
		return error;
	if (m->reg_count > 0)
		memcpy(regs, m->regs, m->reg_count * sizeof *regs);
	m->regs = regs;
	m->reg_count = count;
	return 0;
}

static int take_blobs(struct reader *in)
{
	struct machine *m = in->machine;
	uint32_t more = 0;
	struct blob *blobs;
	size_t total = 0;
	int error = take_count(in, &more, 8);
	if (error)
		return error;
	if (more > MAX_BLOBS - m->blob_count)
		return bad(in, "%u blobs are too many", more);
	if ((error = alloc(in, &blobs, m->blob_count + more, sizeof *blobs)))
		return error;
	if (m->blob_count > 0)
		memcpy(blobs, m->blobs, m->blob_count * sizeof *blobs);
	in->first_blob = m->blob_count;
	in->blob_count = m->blob_count + more;
	for (uint32_t i = m->blob_count; i < in->blob_count; i++) {
		uint32_t sizes[2]; /* in all, of which are given */
		if ((error = take(in, sizes, sizeof sizes)))
			return error;
		total += sizes[0];
		if (sizes[1] > sizes[0] || total > MAX_BLOB_BYTES || sizes[1] > in->end - in->at)
			return bad(in, "a blob of %u bytes, %u given", sizes[0], sizes[1]);
		blobs[i].size = sizes[0];
		if ((error = alloc(in, &blobs[i].data, sizes[0], 1)) || (error = take(in, blobs[i].data, sizes[1])))
			return error;
	}
	m->blobs = blobs;
	m->blob_count = in->blob_count;
	return 0;
}

static int take_pointers(struct reader *in)
{
	struct machine *m = in->machine;
	uint32_t more = 0;
	struct blob_pointer *all;
	int error = take_count(in, &more, sizeof *all);
	if (error || (error = alloc(in, &all, (size_t)m->pointer_count + more, sizeof *all)))
		return error;
	if (m->pointer_count > 0)
		memcpy(all, m->pointers, m->pointer_count * sizeof *all);
	for (uint32_t i = m->pointer_count; i < m->pointer_count + more; i++) {
		struct blob_pointer *p = &all[i];
		if ((error = take(in, p, sizeof *p)))
			return error;
		if (p->blob >= m->blob_count - in->first_blob || p->to >= m->blob_count)
			return bad(in, "a pointer from blob %u to blob %u", p->blob, p->to);
		p->blob += in->first_blob;
		if (m->blobs[p->blob].size < 8 || p->at > m->blobs[p->blob].size - 8 || p->offset > m->blobs[p->to].size)
			return bad(in, "a pointer at %u to %u is out of its blob", p->at, p->offset);
		uint64_t address = (uintptr_t)m->blobs[p->to].data + p->offset;
		memcpy(m->blobs[p->blob].data + p->at, &address, sizeof address);
	}
	m->pointers = all;
	m->pointer_count += more;
	return 0;
}

int plan_decode(struct machine *machine, const uint8_t *bytes, size_t size, struct op_list *ops)
{
	struct reader in = {.machine = machine, .at = bytes, .end = bytes + size};
	uint32_t head[4]; /* version, architecture, id of the first operation, registers */
	int error = take(&in, head, sizeof head);
	if (error)
		return error;
#if defined(__x86_64__)
	uint32_t here = ARCH_X86_64;
#else
	uint32_t here = ARCH_AARCH64;
#endif
	if (head[0] != WIRE_VERSION)
		return bad(&in, "the plan is of version %u, keel of version %d", head[0], WIRE_VERSION);
	if (head[1] != here)
		return bad(&in, "the plan is for another architecture");
	in.next_id = head[2];
	if ((error = grow_registers(&in, head[3])) || (error = take_blobs(&in)) || (error = take_pointers(&in)) ||
	    (error = take_list(&in, ops)))
		return error;
	return in.at == in.end ? 0 : bad(&in, "%lld bytes too many", (long long)(in.end - in.at));
}
