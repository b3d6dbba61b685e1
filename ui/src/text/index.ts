// The texts that are shown. Another language is a file of the same type as en.ts; which one is chosen is decided here alone.
import { en } from './en';

export type Text = typeof en;
export const text: Text = en;
