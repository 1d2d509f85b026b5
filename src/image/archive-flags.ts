/** Flags of keel's `unpack` (native/unpack.h). */
export const UNPACK_OVERLAY = 1;
export const UNPACK_DELETE = 2;
export const UNPACK_USERXATTR = 4;
export const UNPACK_ANY_OWNER = 8;
export const UNPACK_SKIP_DEVICES = 16;
export const UNPACK_NO_OWNER = 32;
export const UNPACK_KEEP_KIND = 64;
export const UNPACK_ANSWER = 128;

/** Flags of keel's `pack` (native/pack.h). */
export const PACK_OVERLAY = 1;
export const PACK_HEADERS = 2;
export const PACK_ONE_FILE_SYSTEM = 4;
export const PACK_ROOT_OWNS = 8;
