// Small parts that several places show.

import { type ReactNode, useEffect, useRef } from "react";

export function Wordmark() {
  return (
    <h1 className="wordmark">
      <img src="/icon.svg" alt="" width="24" height="24" />
      Headwater <b>notes</b>
    </h1>
  );
}

const hueOf = (name: string) => [...name].reduce((sum, character) => (sum * 31 + character.codePointAt(0)!) % 360, 7);

export function Avatar({ name }: { name: string }) {
  return (
    <span className="avatar" style={{ "--hue": hueOf(name) } as React.CSSProperties} aria-hidden="true">
      {name.charAt(0).toUpperCase()}
    </span>
  );
}

export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={onClose} aria-label={title}>
      <header>
        <h2>{title}</h2>
        <button type="button" className="plain" aria-label="Close" onClick={() => dialog.current?.close()}>✕</button>
      </header>
      {children}
    </dialog>
  );
}

/** A text field that keeps what is typed to itself until its person pauses, and shows what others write while nobody types. */
export function Draft({ value, onSave, label, isLine, isReadOnly }: { value: string; onSave: (text: string) => void; label: string; isLine?: boolean; isReadOnly?: boolean }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const pending = useRef<{ timer: number } | null>(null);
  const save = () => {
    if (!pending.current) return;
    clearTimeout(pending.current.timer);
    pending.current = null;
    onSave(field.current!.value);
  };
  useEffect(() => {
    if (field.current && !pending.current && field.current.value !== value) field.current.value = value;
  }, [value]);
  return (
    <textarea
      ref={field} className={isLine ? "draft line" : "draft"} rows={1} aria-label={label} defaultValue={value} readOnly={isReadOnly} spellCheck={false}
      onInput={() => {
        if (pending.current) clearTimeout(pending.current.timer);
        pending.current = { timer: window.setTimeout(save, 300) };
      }}
      onBlur={save}
      onKeyDown={(event) => {
        if (!isLine || event.key !== "Enter") return;
        event.preventDefault();
        event.currentTarget.blur();
      }}
    />
  );
}
