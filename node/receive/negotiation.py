"""What an association may carry: reading the A-ASSOCIATE-RQ and writing its answer (PS3.8: 7.1.1, 9.3.2 to 9.3.8).

Every storage SOP class is taken, private and not yet known ones too, in a transfer syntax that the sender
names: bytes are kept as they come, and who reads the pixels decides whether it can.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    A_P_ABORT,
    A_RELEASE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from node.commitment import PUSH_MODEL
from node.commitment import TRANSFER_SYNTAXES as COMMITMENT_SYNTAXES
from node.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

VERIFICATION = "1.2.840.10008.1.1"
# Lenient on purpose (leading zeros are common in the field), but never letters, slashes or control characters.
UID_TEXT = re.compile(r"[0-9.]{1,64}")

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_STORAGE = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."  # classes that are newer, or older, than our tables
# Query classes that the standard numbered in the middle of the storage classes.
_NOT_STORAGE = ("1.2.840.10008.5.1.4.1.1.200.", "1.2.840.10008.5.1.4.1.1.201.")
_STANDARD_ROOT = "1.2.840.10008."
# Chosen only where nothing else is offered: lossy ones, fragmentable and hierarchical ones too, and JPIP, which leaves
# the pixels with the sender (PS3.6, table A-1).
_LAST_CHOICE = frozenset(
    f"1.2.840.10008.1.2.4.{last}"
    for last in (
        *(50, 51, 52, 53, 54, 55, 56, 59, 60, 61, 62, 63, 64, 81, 91, 93, 107, 108, 112, 203),
        *(f"{number}{fragmentable}" for number in range(100, 107) for fragmentable in ("", ".1")),
        *(94, 95, 204, 205),
    )
)

ACCEPTED, USER_REJECTION, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 1, 3, 4


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ: result, source and diagnostic of PS3.8, table 9-21, and our reason for the log."""

    result: int
    source: int
    diagnostic: int
    reason: str

    def encode(self) -> bytes:
        """The PDU."""
        primitive = A_ASSOCIATE()
        primitive.result = self.result
        primitive.result_source = self.source
        primitive.diagnostic = self.diagnostic
        return A_ASSOCIATE_RJ(primitive).encode()


@dataclass(frozen=True)
class Context:
    """An accepted presentation context."""

    sop_class: str
    transfer_syntax: str


@dataclass(frozen=True)
class Request:
    """An A-ASSOCIATE-RQ."""

    calling_ae: str
    called_ae: str
    application_context: str
    proposed: tuple[PresentationContext, ...]
    max_pdu: int  # bytes that the peer takes in one P-DATA; 0: any
    certificate: frozenset[str] | None = None  # names of the caller's certificate (node.tls); None: in plain text
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)  # SOP class -> (SCU, SCP), where proposed


def read_request(body: memoryview, certificate: frozenset[str] | None = None) -> Request:
    """Decode the body of an A-ASSOCIATE-RQ that came under `certificate`.

    What pynetdicom raises for a malformed one passes through.
    """
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(b"\x01\x00" + len(body).to_bytes(4, "big") + bytes(body))
    primitive = pdu.to_primitive()
    max_pdu = next((i.maximum_length_received for i in primitive.user_information
                    if isinstance(i, MaximumLengthNotification)), 0)  # fmt: skip
    return Request(
        calling_ae=primitive.calling_ae_title or "",
        called_ae=primitive.called_ae_title or "",
        application_context=str(primitive.application_context_name or ""),
        proposed=tuple(primitive.presentation_context_definition_list),
        max_pdu=max_pdu,
        certificate=certificate,
        roles={str(i.sop_class_uid): (bool(i.scu_role), bool(i.scp_role)) for i in primitive.user_information
               if isinstance(i, SCP_SCU_RoleSelectionNegotiation)},
    )  # fmt: skip


def is_storage(sop_class: str) -> bool:
    """Whether instances of this class are taken: the storage classes, and whatever is not the standard's."""
    if sop_class in _STORAGE or not sop_class.startswith(_STANDARD_ROOT):
        return True
    return sop_class.startswith(_STORAGE_ROOT) and not sop_class.startswith(_NOT_STORAGE)


def choose(proposed: list[str]) -> str:
    """The first transfer syntax that the sender names, but none that may lack pixels while it offers another."""
    return next((uid for uid in proposed if uid not in _LAST_CHOICE), proposed[0])


def accept(request: Request, may: Collection[str], max_pdu: int) -> tuple[bytes, dict[int, Context]]:
    """The A-ASSOCIATE-AC for a peer, and the accepted contexts by their ID.

    `may`: "store", "echo", "commit" (ask us for storage commitment), "report" (answer what we asked of it).
    """
    results: list[PresentationContext] = []
    accepted: dict[int, Context] = {}
    for offer in request.proposed:
        sop_class = str(offer.abstract_syntax or "")
        transfer_syntaxes = [str(uid) for uid in offer.transfer_syntax]
        answer = PresentationContext()
        answer.context_id = offer.context_id
        answer.transfer_syntax = [UID(transfer_syntaxes[0] if transfer_syntaxes else "1.2.840.10008.1.2")]
        answer.result = _judge(sop_class, transfer_syntaxes, may, request.roles)
        if answer.result == ACCEPTED:
            chosen = choose(transfer_syntaxes) if sop_class != PUSH_MODEL else _plain(transfer_syntaxes)[0]
            answer.transfer_syntax = [UID(chosen)]
            accepted[int(offer.context_id or 0)] = Context(sop_class, chosen)
        results.append(answer)
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(APPLICATION_CONTEXT)
    primitive.calling_ae_title = request.calling_ae
    primitive.called_ae_title = request.called_ae
    primitive.result = 0
    primitive.result_source = 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = _user_information(max_pdu)
    primitive.user_information += _role(request, may)
    return A_ASSOCIATE_AC(primitive).encode(), accepted


def release_response() -> bytes:
    """The A-RELEASE-RP PDU."""
    primitive = A_RELEASE()
    primitive.result = "affirmative"
    return A_RELEASE_RP(primitive).encode()


def abort(diagnostic: int) -> bytes:
    """The A-ABORT PDU of the service provider, with a reason of PS3.8, table 9-26."""
    primitive = A_P_ABORT()
    primitive.provider_reason = diagnostic
    return A_ABORT_RQ(primitive).encode()


def _judge(
    sop_class: str, transfer_syntaxes: list[str], may: Collection[str], roles: Mapping[str, tuple[bool, bool]]
) -> int:
    if not UID_TEXT.fullmatch(sop_class):
        return ABSTRACT_SYNTAX_NOT_SUPPORTED
    if not transfer_syntaxes or not all(UID_TEXT.fullmatch(uid) for uid in transfer_syntaxes):
        return TRANSFER_SYNTAXES_NOT_SUPPORTED
    if sop_class == VERIFICATION:
        return ACCEPTED if "echo" in may else USER_REJECTION
    if sop_class == PUSH_MODEL:
        # A peer that is silent about its role may be either: some call to answer without a role selection.
        as_scu, as_scp = roles.get(PUSH_MODEL, (True, True))
        if not (as_scu and "commit" in may) and not (as_scp and "report" in may):
            return USER_REJECTION
        return ACCEPTED if _plain(transfer_syntaxes) else TRANSFER_SYNTAXES_NOT_SUPPORTED
    if is_storage(sop_class):
        return ACCEPTED if "store" in may else USER_REJECTION
    return ABSTRACT_SYNTAX_NOT_SUPPORTED


def _plain(transfer_syntaxes: list[str]) -> list[str]:
    """Those of them that the datasets of storage commitment may be in."""
    return [uid for uid in transfer_syntaxes if uid in COMMITMENT_SYNTAXES]


def _role(request: Request, may: Collection[str]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Our answer to a role selection; none where neither role is left, and the context is refused."""
    as_scu, as_scp = request.roles.get(PUSH_MODEL, (False, False))
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(PUSH_MODEL)
    role.scu_role, role.scp_role = as_scu and "commit" in may, as_scp and "report" in may
    return [role] if role.scu_role or role.scp_role else []


def _user_information(max_pdu: int) -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    name = ImplementationVersionNameNotification()
    name.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, class_uid, name]
