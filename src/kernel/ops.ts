// Made from native/ops.json by `node scripts/build-keel.mjs --ops`.

export const wireVersion = 3;

export const archNumbers = {
  x86_64: 1,
  aarch64: 2,
} as const;

export const opNumbers = {
  syscall: 1,
  poke: 2,
  peek: 3,
  set: 4,
  format: 5,
  jump: 7,
  branch: 8,
  fail: 9,
  clone: 10,
  await: 11,
  sync: 12,
  report: 13,
  netlink: 14,
  write: 15,
  unpack: 16,
  keep: 17,
  pack: 18,
} as const;

export const valueNumbers = {
  none: 0,
  imm: 1,
  reg: 2,
  blob: 3,
} as const;

export const ruleNumbers = {
  continue: 1,
  jump: 2,
  retry: 3,
} as const;

export const compareNumbers = {
  eq: 1,
  ne: 2,
  lt: 3,
  ge: 4,
  and: 5,
} as const;

export const messageNumbers = {
  run: 1,
  chunk: 2,
  start: 3,
  close: 4,
  done: 16,
  failed: 17,
  sync: 18,
  report: 19,
  kept: 20,
  started: 21,
  closed: 22,
  attach: 32,
  stdin: 33,
  closeStdin: 34,
  resize: 35,
  kill: 36,
  status: 37,
  control: 38,
  acknowledge: 39,
  reopenLog: 40,
  answer: 48,
  stdout: 49,
  stderr: 50,
  stdinTaken: 51,
  exit: 52,
  call: 64,
  output: 65,
  end: 66,
  supervise: 67,
  exited: 68,
  alive: 69,
} as const;
