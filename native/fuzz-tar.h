/* A mutator for archives: without right checksums nearly every input would end at its first header. */
#ifndef KEEL_FUZZ_TAR_H
#define KEEL_FUZZ_TAR_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* The archive begins behind the first byte. One input in sixteen is left as it is. */
__attribute__((no_sanitize("coverage"))) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	for (size_t at = 1; seed % 16 && at + 512 <= size; at += 512) {
		char digits[9];
		unsigned sum = 0, set = 0;
		memset(data + at + 148, ' ', 8);
		for (int i = 0; i < 512; i++) {
			sum += data[at + i];
			set |= i < 148 ? data[at + i] : 0;
		}
		if (set == 0) {
			memset(data + at + 148, 0, 8);
			continue;
		}
		snprintf(digits, sizeof digits, "%06o", sum & 0777777);
		memcpy(data + at + 148, digits, 7);
	}
	return size;
}

#endif
