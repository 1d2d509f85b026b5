#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 16 << 10, /* longer lines are recorded in pieces, as docker does */
	RECORD_MAX = 6 * LINE_MAX_BYTES + 128,
	OUT_SIZE = 384 << 10,
};

static const char prefix[] = "{\"log\":\"";

int log_open(struct json_log *log, const char *path, uint64_t max_size, uint32_t max_files)
{
	struct stat status;
	log->path = path;
	log->max_size = max_size;
	log->max_files = max_files ? max_files : 1;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		return -errno;
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	log->size = fstat(fd, &status) == 0 ? (uint64_t)status.st_size : 0;
	if (!log->out) {
		log->out = mmap(NULL, OUT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (log->out == MAP_FAILED)
			return -ENOMEM;
	}
	return 0;
}

/* Bytes of a well-formed UTF-8 sequence at `at`, 0 for anything else; `code` is the character. */
static size_t utf8_sequence(const uint8_t *at, size_t left, uint32_t *code)
{
	size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	if (at[0] < 0xc2 || at[0] > 0xf4 || left < size)
		return 0;
	*code = at[0] & (0xffu >> (size + 1));
	for (size_t i = 1; i < size; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (at[i] & 0x3f);
	}
	bool overlong = (size == 3 && *code < 0x800) || (size == 4 && *code < 0x10000);
	return overlong || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000) ? 0 : size;
}

static uint8_t *put(uint8_t *into, const char *text, size_t size)
{
	memcpy(into, text, size);
	return into + size;
}

/* One character that can't be copied as it is, or is not ASCII. Moves `at` past it. */
static uint8_t *escape_one(uint8_t *into, const uint8_t **at, size_t left)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t byte = **at;
	uint32_t code;
	size_t size = 1;
	if (byte >= 0x80) {
		size = utf8_sequence(*at, left, &code);
		if (size == 0) {
			size = 1;
			into = put(into, "\\ufffd", 6);
		} else if (code == 0x2028 || code == 0x2029) {
			into = put(into, code == 0x2028 ? "\\u2028" : "\\u2029", 6);
		} else {
			into = put(into, (const char *)*at, size);
		}
	} else if (byte == '"' || byte == '\\') {
		*into++ = '\\';
		*into++ = byte;
	} else if (byte == '\n' || byte == '\r') {
		*into++ = '\\';
		*into++ = byte == '\n' ? 'n' : 'r';
	} else {
		into = put(into, "\\u00", 4);
		*into++ = (uint8_t)hex[byte >> 4];
		*into++ = (uint8_t)hex[byte & 15];
	}
	*at += size;
	return into;
}

typedef int8_t vector __attribute__((vector_size(16)));

/* Among 16 bytes, those that need a look: control characters and all above ASCII (both less than space, as signed), " \ < > & */
static bool first_special(const uint8_t *at, unsigned *where)
{
	vector bytes;
	uint64_t found[2];
	memcpy(&bytes, at, sizeof bytes);
	vector hit = (bytes < 0x20) | (bytes == '"') | (bytes == '\\') | (bytes == '<') | (bytes == '>') | (bytes == '&');
	memcpy(found, &hit, sizeof found);
	if (!(found[0] | found[1]))
		return false;
	*where = found[0] ? (unsigned)__builtin_ctzll(found[0]) / 8 : 8 + (unsigned)__builtin_ctzll(found[1]) / 8;
	return true;
}

static bool is_special(uint8_t byte)
{
	return byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\' || byte == '<' || byte == '>' || byte == '&';
}

uint8_t *json_escape(uint8_t *into, const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;
	while (end - at >= 16) {
		unsigned where = 16;
		bool special = first_special(at, &where);
		memcpy(into, at, 16); /* `into` has room: at least 6 bytes for each that is left */
		into += where;
		at += where;
		if (special)
			into = escape_one(into, &at, (size_t)(end - at));
	}
	while (at < end) {
		if (is_special(*at))
			into = escape_one(into, &at, (size_t)(end - at));
		else
			*into++ = *at++;
	}
	return into;
}

/* RFC 3339 in UTC, nanoseconds without trailing zeros, as Go writes time.Time. */
static void set_time(struct json_log *log, int stream)
{
	static const char *const names[] = {"stdout", "stderr"};
	struct timespec now;
	struct tm utc;
	char fraction[16] = "";
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	if (now.tv_nsec > 0) {
		int n = snprintf(fraction, sizeof fraction, ".%09ld", now.tv_nsec);
		while (fraction[n - 1] == '0')
			fraction[--n] = 0;
	}
	log->stream[stream].suffix_size = (size_t)snprintf(
		log->stream[stream].suffix, sizeof log->stream[stream].suffix,
		"\",\"stream\":\"%s\",\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d%sZ\"}\n", names[stream], (utc.tm_year + 1900) % 10000,
		utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, fraction);
}

/* What could not be written whole must not leave half a record: the file ends after the last whole one. */
static void drop_records(struct json_log *log, size_t written)
{
	const uint8_t *last = written ? memrchr(log->out, '\n', written) : NULL;
	size_t whole = last ? (size_t)(last - log->out) + 1 : 0;
	log->dropped += log->used - whole;
	log->size += whole;
	if (whole != written && ftruncate(log->fd, (off_t)log->size) < 0)
		log->size += written - whole;
}

void log_flush(struct json_log *log)
{
	size_t written = 0;
	while (written < log->used) {
		ssize_t n = write(log->fd, log->out + written, log->used - written);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* no space, most likely: the container goes on without these lines */
		written += (size_t)n;
	}
	if (written < log->used)
		drop_records(log, written);
	else
		log->size += written;
	log->used = 0;
}

/* name → name.1 → name.2 …, the oldest first, so that being killed in between loses nothing but the oldest. */
static void rotate(struct json_log *log)
{
	char from[4200], to[4200];
	log_flush(log);
	if (log->max_files < 2) {
		if (ftruncate(log->fd, 0) == 0)
			log->size = 0;
		return;
	}
	for (uint32_t i = log->max_files - 1; i > 0; i--) {
		if (i == 1)
			snprintf(from, sizeof from, "%s", log->path);
		else
			snprintf(from, sizeof from, "%s.%u", log->path, i - 1);
		snprintf(to, sizeof to, "%s.%u", log->path, i);
		rename(from, to);
	}
	if (log_open(log, log->path, log->max_size, log->max_files) < 0)
		log->size = 0;
	if (log->size >= log->max_size)
		log->size = 0; /* stays in the old file, and tries again after as many bytes */
}

static void add_record(struct json_log *log, int stream, const uint8_t *line, size_t size, bool newline)
{
	if (log->used > OUT_SIZE - RECORD_MAX)
		log_flush(log);
	if (log->max_size > 0 && log->size + log->used >= log->max_size)
		rotate(log);
	uint8_t *at = put(log->out + log->used, prefix, sizeof prefix - 1);
	at = json_escape(at, line, size);
	if (newline)
		at = put(at, "\\n", 2);
	at = put(at, log->stream[stream].suffix, log->stream[stream].suffix_size);
	log->used = (size_t)(at - log->out);
}

/* Records the line that was begun by earlier reads. */
static void end_line(struct json_log *log, int stream, bool newline)
{
	add_record(log, stream, log->stream[stream].bytes, log->stream[stream].used, newline);
	free(log->stream[stream].bytes);
	log->stream[stream].bytes = NULL;
	log->stream[stream].used = 0;
}

/* Begins or goes on with a line whose end hasn't been read. */
static void keep_line(struct json_log *log, int stream, const uint8_t *bytes, size_t size)
{
	uint8_t *grown = realloc(log->stream[stream].bytes, log->stream[stream].used + size + 1);
	if (!grown) {
		log->dropped += size;
		return;
	}
	memcpy(grown + log->stream[stream].used, bytes, size);
	log->stream[stream].bytes = grown;
	log->stream[stream].used += size;
}

void log_append(struct json_log *log, int stream, const uint8_t *bytes, size_t size)
{
	if (log->fd < 0 || size == 0)
		return;
	set_time(log, stream);
	while (size > 0) {
		size_t begun = log->stream[stream].used, room = LINE_MAX_BYTES - begun;
		const uint8_t *newline = memchr(bytes, '\n', size < room ? size : room);
		size_t part = newline ? (size_t)(newline - bytes) : size < room ? size : room;
		bool whole = newline || part == room;
		if (begun > 0 || !whole)
			keep_line(log, stream, bytes, part);
		if (whole && begun > 0)
			end_line(log, stream, newline != NULL);
		else if (whole)
			add_record(log, stream, bytes, part, newline != NULL);
		part += newline ? 1 : 0;
		bytes += part;
		size -= part;
	}
}

void log_end(struct json_log *log, int stream)
{
	if (log->fd < 0 || log->stream[stream].used == 0)
		return;
	set_time(log, stream);
	end_line(log, stream, false);
}

void log_idle(struct json_log *log)
{
	if (log->out)
		madvise(log->out, OUT_SIZE, MADV_DONTNEED);
}
