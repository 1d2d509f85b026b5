/* Frames in pieces, and log records of any bytes: the keeper's two inputs. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keep.h"

static void frames(const uint8_t *data, size_t size)
{
	struct inbox box = {.limit = 4096};
	struct frame head;
	uint8_t *payload;
	int64_t sum = 0;
	int ends[2], n = 1;
	if (pipe2(ends, O_NONBLOCK) < 0)
		abort();
	for (size_t at = 0; at < size && n >= 0;) {
		size_t piece = 1 + data[at] % 97u;
		piece = piece < size - at ? piece : size - at;
		if (write(ends[1], data + at, piece) != (ssize_t)piece)
			abort();
		at += piece;
		n = inbox_fill(&box, ends[0]);
		while (n > 0 && (n = inbox_next(&box, &head, &payload)) > 0)
			for (uint32_t i = 0; i < head.size; i++)
				sum += payload[i];
	}
	if (box.capacity > 65536)
		abort();
	inbox_free(&box);
	close(ends[0]);
	close(ends[1]);
}

static void records(const uint8_t *data, size_t size)
{
	struct json_log log = {.fd = -1};
	static int file = -1;
	char path[64];
	if (file < 0)
		file = memfd_create("log", 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	if (ftruncate(file, 0) < 0 || log_open(&log, path, 0, 1) < 0)
		abort();
	for (size_t at = 0; at < size;) {
		size_t piece = 1 + data[at] * 64u;
		piece = piece < size - at ? piece : size - at;
		log_append(&log, data[at] & 1, data + at, piece);
		at += piece;
	}
	log_end(&log, 0);
	log_end(&log, 1);
	log_flush(&log);
	off_t end = lseek(log.fd, 0, SEEK_END);
	char *text = end > 0 ? mmap(NULL, (size_t)end, PROT_READ, MAP_SHARED, file, 0) : NULL;
	/* Printable beyond what JSON must escape; every record a line. */
	for (off_t i = 0; i < end; i++)
		if ((uint8_t)text[i] < 0x20 && text[i] != '\n')
			abort();
	if (end > 0 && (text[end - 1] != '\n' || memcmp(text, "{\"log\":\"", 8) != 0))
		abort();
	if (text)
		munmap(text, (size_t)end);
	munmap(log.out, 384 << 10);
	close(log.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 32768)
		return 0;
	frames(data, size);
	records(data, size);
	return 0;
}
