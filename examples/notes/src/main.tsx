import { createRoot } from "react-dom/client";
import { openSession } from "./database.ts";
import { Notebook } from "./Notebook.tsx";
import { SignIn } from "./SignIn.tsx";
import { currentUser } from "./users.ts";
import "./style.css";

const user = currentUser();
// Nothing here waits for the network: what is shown first comes from IndexedDB.
createRoot(document.getElementById("root")!).render(user ? <Notebook session={openSession(user)} /> : <SignIn />);
