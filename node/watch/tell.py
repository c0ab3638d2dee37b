"""Tells people through a webhook (JSON by POST) or by e-mail; what cannot be sent now is tried again."""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from node import __version__, faults, logs
from node.errors import GiveUp, TryAgain
from node.retry import backoff
from node.sections import Watch
from node.store import Message, Store
from node.watch import words

log = logs.get(__name__)
_WAIT = 15.0  # seconds for a server's answer
_ATTEMPTS = 40  # with pauses of up to a quarter of an hour: about nine hours
_LONGEST = 900.0


def send_due(store: Store, watch: Watch) -> int:
    """Send what is due; give how many went. Raises TryAgain when the database is away."""
    sent, away = 0, set[str]()
    for message in store.due_messages():
        if message.via in away:
            continue  # one wait for a server that hangs, not one for each message: the log is to be read on
        reason: str | None = None
        due: float | None = None
        try:
            _send(message, watch)
            faults.point("watch.sent")
            sent += 1
        except TryAgain as error:
            reason = error.reason
            away.add(message.via)
            if message.attempts + 1 < _ATTEMPTS:
                due = store.clock() + (error.after or backoff(message.attempts + 1, longest=_LONGEST))
        except GiveUp as error:
            reason = error.reason
        if reason is not None:
            log.warning("a message was not sent", via=message.via, reason=reason, again=due is not None)
        store.settle_message(message, reason, due)
    return sent


def _send(message: Message, watch: Watch) -> None:
    if message.via == "webhook" and watch.webhook:
        _post(watch.webhook, {**message.body, "message": message.id})  # by which it can drop a second one
    elif message.via == "email" and watch.email_to:
        _mail(watch, message)
    else:
        raise GiveUp(f"{message.via} is not configured any more")


def _post(url: str, body: Mapping[str, Any]) -> None:
    """POST the body as JSON. Raises TryAgain, and GiveUp where the server says that it will never take it."""
    data = json.dumps({**body, "text": words.short(body)}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"overread/{__version__}"}
    request = urllib.request.Request(url, data, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_WAIT):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (408, 425, 429) or error.code >= 500:
            raise TryAgain(f"the webhook answered {error.code}") from error
        raise GiveUp(f"the webhook answered {error.code}") from error
    except (OSError, ValueError) as error:  # URLError is an OSError; ValueError: an answer that is no HTTP
        raise TryAgain(f"the webhook does not answer ({type(error).__name__})") from error


def mail_of(watch: Watch, message: Message) -> EmailMessage:
    """The e-mail of a message; the same Message-ID at each attempt, so that a mail server can drop a second one."""
    mail = EmailMessage()
    mail["From"], mail["To"] = watch.email_from, ", ".join(watch.email_to)
    mail["Subject"] = f"[Overread] {words.short(message.body)}"[:200]
    mail["Message-ID"] = f"<overread-{watch.site.replace(' ', '-')}-{message.id}@{watch.email_from.rpartition('@')[2]}>"
    mail.set_content(words.message(message.body))
    return mail


def _mail(watch: Watch, message: Message) -> None:
    context = ssl.create_default_context()
    try:
        if watch.smtp_tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(watch.smtp_host, watch.smtp_port, timeout=_WAIT, context=context)
        else:
            server = smtplib.SMTP(watch.smtp_host, watch.smtp_port, timeout=_WAIT)
        with server:
            if watch.smtp_tls == "starttls":
                server.starttls(context=context)
            server.send_message(mail_of(watch, message))
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        kind = GiveUp if codes and min(codes) >= 500 else TryAgain
        raise kind(f"the mail server refused every recipient ({min(codes, default=0)})") from error
    except (OSError, smtplib.SMTPException) as error:
        raise TryAgain(f"the mail server does not take it ({type(error).__name__})") from error
