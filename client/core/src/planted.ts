/**
 * Mistakes that tests plant, to see that the schedules find them: the traps of the design, each as a name. A test sets
 * `globalThis.__PLANTED__`; in a build the name is a constant, and the code behind it is erased.
 */
export type Planted =
  | "base of numbering" // 1: an edit gets the position of the time at which it is numbered
  | "base of the end" // 2: an edit made between two pages gets the position of the end of the pull
  | "lines before results" // 3: what was refused loses its base before the lines of the same answer are applied
  | "dropped when acknowledged" // 4: an acknowledged edit leaves the screen before a pull has brought it
  | "live at once" // 5: live changes do not wait for the request under way
  | "marks forgotten" // 6: a reload in the middle of a reset forgets what it has brought
  | "no base of creation" // 7: a creation goes out with the position of its capture
  | "sent compacted" // 8: what was sent is numbered anew, with what came since
  | "no term" // 9: commits do not compare the term (in the store)
  | "no after" // 10: what follows a conflict does not say so
  | "any user" // 11: nobody compares the user of the token with that of the database
  | "unique lost" // 14: a row that a unique index refuses is forgotten
  | "unknown dropped" // 18: a record of an unknown table is forgotten
  | "changes of a part" // a push that leaves out mutations that may have been sent asks for changes: their echo
  | "base of the line" // a conflict shows as its base what a line has brought since the edit
  | "marks kept" // a load that begins again keeps what it had marked, though it may be deleted by now
  | "early merged" // what may have been sent before it was numbered is numbered together with what came since
  | "early untried" // a leader that finds such an edit pulls before it pushes: its echo
  | "adopted from behind" // rows are compared with a state of the server that is older than they are
  | "closed conflict kept" // a conflict that another device has resolved stays on the screen
  | "client id kept"; // 19: a new database goes on under a client id that it was told

declare global {
  var __PLANTED__: Planted | undefined;
}
