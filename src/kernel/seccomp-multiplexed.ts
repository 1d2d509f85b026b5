import type { LinuxSeccompArg } from '../spec/runtime.ts';

/** Numbers of socketcall(2) (linux/net.h). */
const socketCalls: Readonly<Record<string, number>> = {
  socket: 1,
  bind: 2,
  connect: 3,
  listen: 4,
  accept: 5,
  getsockname: 6,
  getpeername: 7,
  socketpair: 8,
  send: 9,
  recv: 10,
  sendto: 11,
  recvfrom: 12,
  shutdown: 13,
  setsockopt: 14,
  getsockopt: 15,
  sendmsg: 16,
  recvmsg: 17,
  accept4: 18,
  recvmmsg: 19,
  sendmmsg: 20,
};

/** Numbers of ipc(2) (linux/ipc.h). */
const ipcCalls: Readonly<Record<string, number>> = {
  semop: 1,
  semget: 2,
  semctl: 3,
  semtimedop: 4,
  msgsnd: 11,
  msgrcv: 12,
  msgget: 13,
  msgctl: 14,
  shmat: 21,
  shmdt: 22,
  shmget: 23,
  shmctl: 24,
};

/** How else a call can be made on i386: another call, and the condition on its arguments. Undefined for most. */
export function multiplexed(name: string): { call: string; condition: LinuxSeccompArg } | undefined {
  if (Object.hasOwn(socketCalls, name)) {
    return { call: 'socketcall', condition: { index: 0, value: socketCalls[name] as number, op: 'SCMP_CMP_EQ' } };
  }
  if (Object.hasOwn(ipcCalls, name)) {
    // The upper half of the number is a version, and any version leads to the same call.
    const condition = {
      index: 0,
      value: 0xffff,
      valueTwo: ipcCalls[name] as number,
      op: 'SCMP_CMP_MASKED_EQ',
    } as const;
    return { call: 'ipc', condition };
  }
  return undefined;
}
