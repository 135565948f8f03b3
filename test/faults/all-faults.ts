import { answerFaults } from './answer-faults.ts';
import { connectionFaults, hangs, leavers } from './connection-faults.ts';
import type { Fault } from './fault.ts';
import { statusFaults } from './status-faults.ts';
import { streamFaults } from './stream-faults.ts';

/** Of one call to a provider that can be reached; a stage's token has to be short of patience. */
export const allFaults: readonly Fault[] = [
  ...connectionFaults,
  ...hangs,
  ...statusFaults,
  ...streamFaults,
  ...answerFaults,
  ...leavers,
];
