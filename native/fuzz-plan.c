/*
 * Decodes hostile plans: never a crash, never memory out of proportion, whatever the bytes. The first two bytes say where the input is cut into
 * a plan and a chunk that goes on with it. What was decoded is walked over, so that every index is seen to be in bounds.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan.h"

static int64_t sum;

static void walk(const struct machine *m, const struct op_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct op *op = &list->ops[i];
		for (uint32_t v = 0; v < op->value_count; v++) {
			const struct value *value = &op->values[v];
			if (value->kind == VALUE_REG)
				sum += m->regs[value->index];
			if (value->kind == VALUE_BLOB && value->number < m->blobs[value->index].size)
				sum += m->blobs[value->index].data[value->number];
		}
		for (uint32_t r = 0; r < op->rule_count; r++)
			if (op->rules[r].then == RULE_JUMP && op->rules[r].argument < list->count)
				sum += list->ops[op->rules[r].argument].code;
		if ((op->code == OP_JUMP || op->code == OP_BRANCH) && op->target < list->count)
			sum += list->ops[op->target].code;
		if (op->dst != NO_REG)
			sum += m->regs[op->dst];
		walk(m, &op->body);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine machine = {.channel = -1, .report = -1};
	struct op_list ops, chunk;
	if (size < 2)
		return 0;
	size_t cut = 2 + (data[0] | (size_t)data[1] << 8);
	cut = cut < size ? cut : size;
	if (plan_decode(&machine, data + 2, cut - 2, &ops) == 0) {
		walk(&machine, &ops);
		if (cut < size && plan_decode(&machine, data + cut, size - cut, &chunk) == 0)
			walk(&machine, &chunk);
		uint32_t i = 0;
		while (i < ops.count && ops.ops[i].code != OP_KEEP)
			i++;
		if (i < ops.count) {
			struct op_list exit_plan = ops.ops[i].body;
			const struct keep_spec *keep = ops.ops[i].keep;
			if (plan_shrink(&machine, &exit_plan, &keep) == 0)
				walk(&machine, &exit_plan);
		}
	}
	arena_free(&machine.arena);
	return 0;
}
