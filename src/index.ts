export { KeelsonError, errorCodes, type ErrorCode } from './ground/errors.ts';
export type * from './engine/types.ts';
