import type { Board } from './board.ts';
import { cost } from './cost.ts';
import { health } from './health.ts';
import { journal } from './journal.ts';
import { keys } from './keys.ts';
import { traffic } from './traffic.ts';

export const boards: readonly Board[] = [traffic, cost, keys, journal, health];
