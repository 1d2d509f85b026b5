/* What the kept process writes: recorded, passed on to clients, and left to gather when it comes in small pieces. */
#include "keep.h"

#include <errno.h>
#include <link.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	BUSY_READ = 16 << 10, /* reads of less are worth waiting a moment for more */
	BURST = 8,	      /* if there are so many in a millisecond */
};

bool output_hung_up(struct keeper *k)
{
	if (k->hung_up_until && (k->state >= EXITED || now_milliseconds() >= k->hung_up_until))
		k->hung_up_until = 0;
	return k->hung_up_until != 0;
}

/* True when there may be more at once. */
static bool read_output(struct keeper *k, int stream)
{
	ssize_t n = read(k->output[stream], k->buffer, READ_SIZE);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0 && k->terminal && k->state < EXITED) {
		/* EIO: nobody has the terminal open. Somebody may again: closing it would be the hang-up that ends the session. */
		k->hung_up_until = now_milliseconds() + HUNG_UP_MS;
		return false;
	}
	if (n <= 0) {
		log_end(&k->log, stream);
		if (k->terminal)
			k->input = -1;
		close(k->output[stream]);
		k->output[stream] = -1;
		return false;
	}
	k->buffers_used = true;
	log_append(&k->log, stream, k->buffer, (size_t)n);
	clients_send(k, stream == STREAM_STDOUT ? MESSAGE_STDOUT : MESSAGE_STDERR, stream, k->buffer, (size_t)n);
	return n >= BUSY_READ;
}

/*
 * Many small writes, one right after the other: with nobody watching, a moment's sleep lets them gather, and the process isn't switched away from at each.
 */
static bool in_burst(struct keeper *k)
{
	int64_t now = now_milliseconds();
	if (now != k->burst_at) {
		k->burst_count = now - k->burst_at < 3 && k->burst_count >= BURST ? BURST : 0;
		k->burst_at = now;
	}
	return ++k->burst_count > BURST;
}

void output_serve(struct keeper *k, const bool ready[2])
{
	bool read_any = false, more = false;
	for (int i = 0; i < 2; i++)
		if (ready[i] && k->output[i] >= 0) {
			more |= read_output(k, i);
			read_any = true;
		}
	if (!read_any)
		return;
	log_flush(&k->log);
	if (!more && k->client_count == 0 && k->state == RUNNING && in_burst(k))
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

static int give_back_program(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	(void)context;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = (info->dlpi_addr + p->p_vaddr) & ~(uintptr_t)4095;
		if (p->p_type == PT_LOAD && !(p->p_flags & PF_W))
			madvise((void *)start, info->dlpi_addr + p->p_vaddr + p->p_memsz - start, MADV_DONTNEED);
	}
	return 1; /* the program alone */
}

void output_idle(struct keeper *k)
{
	log_idle(&k->log);
	madvise(k->buffer, READ_SIZE, MADV_DONTNEED);
	dl_iterate_phdr(give_back_program, NULL);
	k->buffers_used = false;
}
