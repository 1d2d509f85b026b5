import { open, stat, type FileHandle } from 'node:fs/promises';

/** Lines longer than this are no log's: the keeper cuts at 16 KiB, which escapes blow up to 96 KiB at most. */
const longestLine = 1024 * 1024;
const blockSize = 64 * 1024;

/** An open log file. Rotation renames it under our hands; its inode tells which one it is. */
export interface LogFile extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly inode: number;
}

async function openLogFile(path: string): Promise<LogFile | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const { ino } = await handle.stat();
  return { handle, inode: ino, [Symbol.asyncDispose]: async () => handle.close() };
}

/**
 * Opens a log with its rotated files (`path.1` is the youngest of them), oldest first, up to and without the file `after`.
 * A rotation in between shifts the names, so the newest is checked again at the end and all is done anew.
 */
export async function openLogFiles(path: string, after?: number): Promise<LogFile[]> {
  for (let attempt = 0; ; attempt++) {
    const files: LogFile[] = [];
    for (let n = 0; ; n++) {
      const file = await openLogFile(n === 0 ? path : `${path}.${n}`);
      if (file === undefined) {
        if (n === 0) continue; // between the rename and the creation of a rotation there may be no newest file
        break;
      }
      if (file.inode === after || files.some((f) => f.inode === file.inode)) {
        await file.handle.close();
        break;
      }
      files.unshift(file);
    }
    const newest = await inodeAt(path);
    if (newest === undefined || newest === files.at(-1)?.inode || newest === after || attempt > 20) return files;
    await closeAll(files);
  }
}

export async function closeAll(files: readonly LogFile[]): Promise<void> {
  for (const file of files) await file.handle.close();
}

/** The inode that the path names now; undefined when there is none. */
export async function inodeAt(path: string): Promise<number | undefined> {
  return stat(path).then(
    (s) => s.ino,
    () => undefined,
  );
}

/** Where the last `lines` lines start: counts newlines backwards. `missing` is how many lines the file doesn't have. */
export async function tailOffset(handle: FileHandle, lines: number): Promise<{ offset: number; missing: number }> {
  if (lines <= 0) return { offset: (await handle.stat()).size, missing: 0 };
  const block = Buffer.allocUnsafe(blockSize);
  let end = (await handle.stat()).size;
  const size = end;
  let found = 0;
  while (end > 0) {
    const start = Math.max(0, end - blockSize);
    const { bytesRead } = await handle.read(block, 0, end - start, start);
    for (let at = bytesRead - 1; at >= 0; at--) {
      // The newline that ends the file ends the last line; every other one starts a line after it.
      if (block[at] !== 10 || start + at === size - 1) continue;
      if (++found === lines) return { offset: start + at + 1, missing: 0 };
    }
    end = start;
  }
  return { offset: 0, missing: size === 0 ? lines : lines - found - 1 };
}

/** Reads whole lines as they become available. `position` is where the next unread line starts. */
export class LineReader {
  position: number;
  readonly #handle: FileHandle;
  #rest: Buffer = Buffer.alloc(0);

  constructor(handle: FileHandle, position = 0) {
    this.#handle = handle;
    this.position = position;
  }

  /** The next complete lines without their newlines; empty at the end of what was written so far. */
  async next(): Promise<readonly Buffer[]> {
    for (;;) {
      const block = Buffer.allocUnsafe(blockSize);
      const { bytesRead } = await this.#handle.read(block, 0, blockSize, this.position);
      if (bytesRead === 0) {
        // Rotation to a single file truncates it.
        if ((await this.#handle.stat()).size >= this.position) return [];
        this.position = 0;
        this.#rest = Buffer.alloc(0);
        continue;
      }
      this.position += bytesRead;
      const fresh = block.subarray(0, bytesRead);
      const text = this.#rest.length === 0 ? fresh : Buffer.concat([this.#rest, fresh]);
      const lines: Buffer[] = [];
      let start = 0;
      for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, start)) {
        lines.push(text.subarray(start, end));
        start = end + 1;
      }
      // A line without end is dropped piece by piece, so that memory stays bounded; its tail won't parse.
      this.#rest = text.length - start > longestLine ? Buffer.alloc(0) : text.subarray(start);
      if (lines.length > 0) return lines;
    }
  }
}
