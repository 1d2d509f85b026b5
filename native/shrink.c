/* Moves the little of a plan that a keeper needs to its end into memory of its own, so that the rest can go. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *copy(struct arena *to, const void *from, size_t size)
{
	void *made = arena_alloc(to, size);
	if (made && size > 0)
		memcpy(made, from, size);
	return made;
}

static void copy_string(struct arena *to, char **text)
{
	if (*text)
		*text = copy(to, *text, strlen(*text) + 1);
}

static char **copy_strings(struct arena *to, char **list, uint32_t count)
{
	char **made = copy(to, list, (count + 1) * sizeof *list);
	for (uint32_t i = 0; made && i < count; i++)
		copy_string(to, &made[i]);
	return made;
}

static struct keep_spec *copy_keep(struct arena *to, const struct keep_spec *from)
{
	struct keep_spec *made = copy(to, from, sizeof *from);
	if (!made)
		return NULL;
	copy_string(to, &made->log_path);
	copy_string(to, &made->socket);
	copy_string(to, &made->exit_record);
	made->snapshots = copy_strings(to, from->snapshots, from->snapshot_count);
	made->command = copy_strings(to, from->command, from->command_count);
	made->relays = copy(to, from->relays, from->relay_count * sizeof *from->relays);
	return made;
}

/* The operations, nested ones too; marks the blobs they name. */
static int copy_list(struct arena *to, struct op_list *list, bool *named)
{
	struct op *ops = copy(to, list->ops, list->count * sizeof *ops);
	if (!ops)
		return -ENOMEM;
	for (uint32_t i = 0; i < list->count; i++) {
		struct op *op = &ops[i];
		op->values = copy(to, op->values, op->value_count * sizeof *op->values);
		op->rules = copy(to, op->rules, op->rule_count * sizeof *op->rules);
		if (!op->values || !op->rules)
			return -ENOMEM;
		for (uint32_t v = 0; v < op->value_count; v++)
			if (op->values[v].kind == VALUE_BLOB)
				named[op->values[v].index] = true;
		if (op->body.count > 0 && copy_list(to, &op->body, named))
			return -ENOMEM;
	}
	list->ops = ops;
	return 0;
}

/* Blobs that others point to are needed with them. */
static void mark_pointed(const struct machine *m, bool *named)
{
	bool more = true;
	while (more) {
		more = false;
		for (uint32_t i = 0; i < m->pointer_count; i++) {
			const struct blob_pointer *p = &m->pointers[i];
			if (named[p->blob] && !named[p->to])
				more = named[p->to] = true;
		}
	}
}

static int copy_blobs(struct arena *to, struct machine *m, const bool *named)
{
	struct blob *blobs = arena_alloc(to, m->blob_count * sizeof *blobs);
	if (!blobs)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->blob_count; i++) {
		if (!named[i])
			continue;
		blobs[i].size = m->blobs[i].size;
		blobs[i].data = copy(to, m->blobs[i].data, m->blobs[i].size);
		if (!blobs[i].data)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < m->pointer_count; i++) {
		const struct blob_pointer *p = &m->pointers[i];
		if (!named[p->blob])
			continue;
		uint64_t address = (uintptr_t)blobs[p->to].data + p->offset;
		memcpy(blobs[p->blob].data + p->at, &address, sizeof address);
	}
	m->blobs = blobs;
	return 0;
}

int plan_shrink(struct machine *machine, struct op_list *ops, const struct keep_spec **keep)
{
	struct arena small = {0};
	bool *named = calloc(machine->blob_count + 1, 1);
	int error = named ? copy_list(&small, ops, named) : -ENOMEM;
	if (!error) {
		mark_pointed(machine, named);
		error = copy_blobs(&small, machine, named);
	}
	free(named);
	int64_t *regs = error ? NULL : copy(&small, machine->regs, machine->reg_count * sizeof *regs);
	const struct keep_spec *kept = error ? NULL : copy_keep(&small, *keep);
	if (!regs || !kept)
		return -ENOMEM;
	machine->regs = regs;
	*keep = kept;
	machine->pointers = NULL;
	machine->pointer_count = 0;
	arena_free(&machine->arena);
	machine->arena = small;
	return 0;
}
