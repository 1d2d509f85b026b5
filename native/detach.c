/* The keeper's way out of whoever started it: nothing of theirs may reach it, be kept open by it, or hold it up. */
#include "keep.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void close_others(const struct keeper *k)
{
	int kept[MAX_LISTENERS + 512], count = 0;
	kept[count++] = 2;
	for (const int *fd = (int[]){k->channel, k->pidfd, k->gate, k->report, k->listener, k->input, k->output[0], k->output[1], k->log.fd, -2};
	     *fd != -2; fd++)
		kept[count++] = *fd;
	for (uint32_t i = 0; i < k->relays.listener_count; i++)
		kept[count++] = k->relays.listeners[i];
	for (uint32_t i = 0; i < k->exit_plan.count; i++) {
		const struct op *op = &k->exit_plan.ops[i];
		for (uint32_t v = 0; v < op->value_count && count < MAX_LISTENERS + 512; v++)
			if (op->values[v].kind == VALUE_REG)
				kept[count++] = (int)k->machine->regs[op->values[v].index];
	}
	qsort(kept, (size_t)count, sizeof *kept, compare_ints);
	for (int i = 0; i < count; i++) {
		unsigned first = (unsigned)kept[i] + 1, last = i + 1 < count ? (unsigned)kept[i + 1] - 1 : ~0U;
		if (kept[i] >= 2 && (i + 1 == count || kept[i + 1] > kept[i] + 1))
			close_range(first, last, 0);
	}
}

static void wake(int number)
{
	(void)number;
}

static void set_signals(void)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGXFSZ, SIGTTOU, SIGTTIN, SIGTSTP};
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	struct sigaction child = {.sa_handler = wake}; /* makes poll(2) return, no more */
	sigaction(SIGCHLD, &child, NULL);
}

void detach(void)
{
	set_signals();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	setsid();
	if (chdir("/") < 0 || null < 0)
		return;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}
