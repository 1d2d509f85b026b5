import { readdirSync, statSync } from 'node:fs';

/**
 * Whether a thread of whoever adopted this process lives in another mount namespace: then this one is a thread's of its own, made for one
 * container, and nobody calls from it once that is gone. buildah is like that, and waits up to 20 s for adopted children to end.
 */
export function isStray(): boolean {
  try {
    const own = statSync('/proc/self/ns/mnt').ino;
    const tasks = `/proc/${process.ppid}/task`;
    return readdirSync(tasks).some((task) => statSync(`${tasks}/${task}/ns/mnt`).ino !== own);
  } catch {
    return false; // gone, or not ours to look at
  }
}
