import { useEffect, useState } from "react";
import { Avatar, Wordmark } from "./parts.tsx";
import { become, developmentUsers, keptUsers, nameOf } from "./users.ts";

export function SignIn() {
  const [users, setUsers] = useState(keptUsers);
  const [isAsked, setAsked] = useState(users.length > 0);
  useEffect(() => {
    void developmentUsers().then((found) => {
      setUsers(found);
      setAsked(true);
    });
  }, []);
  return (
    <main className="sign-in">
      <Wordmark />
      <h2>Notes that work offline, and meet again.</h2>
      <p>Pick somebody to be. Then open a second window beside this one, be somebody else there, and write in both.</p>
      <ul>
        {users.map(({ sub }) => (
          <li key={sub}>
            <button type="button" onClick={() => become(sub)}>
              <Avatar name={sub} />
              {nameOf(sub)}
            </button>
          </li>
        ))}
      </ul>
      {isAsked && users.length === 0 && <p role="alert">No users: this page is to be served by <code>npm start</code>, which makes them.</p>}
      <p className="quiet">These are users for development, without passwords. Their tokens are signed by your local server's secret.</p>
    </main>
  );
}
