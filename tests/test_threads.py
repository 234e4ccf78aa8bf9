"""An app's events in a real kernel, sent as JupyterLab sends them: marked for a subshell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).resolve().parent.parent
APP = """import torch
from cvae_utils import widgets
from cvae_utils.models import InpaintingCVAE
model = InpaintingCVAE(latent_dim=4, width=4, hidden=16)
app = widgets.DrawingExplorer(model, torch.rand(5, 28, 28))
"""


class Kernel:
    """A kernel, and a front end that sends several events before it waits for the first."""

    def __init__(self, client: Any) -> None:
        self.client = client
        client.control_channel.send(client.session.msg("create_subshell_request", {}))
        self.subshell = client.get_control_msg(timeout=30)["content"]["subshell_id"]

    def event(self, comm: str, content: dict[str, Any]) -> str:
        """Send an event of a widget and return its id."""
        return self._comm(comm, {"method": "custom", "content": content})

    def update(self, comm: str, **state: object) -> str:
        """Send a control's new state and return the message's id."""
        return self._comm(comm, {"method": "update", "state": state, "buffer_paths": []})

    def _comm(self, comm: str, data: dict[str, Any]) -> str:
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        message["header"]["subshell_id"] = self.subshell
        self.client.shell_channel.send(message)
        name: str = message["header"]["msg_id"]
        return name

    def wait(self, *messages: str) -> str:
        """Wait until all of them have been handled; return what was printed."""
        left, printed = set(messages), ""
        while left:
            said = self.client.get_iopub_msg(timeout=60)
            kind, content = said["header"]["msg_type"], said["content"]
            assert kind != "error", "\n".join(content["traceback"])
            if kind == "stream":
                printed += content["text"]
            if kind == "status" and content["execution_state"] == "idle":
                left.discard(said["parent_header"].get("msg_id"))
        return printed

    def run(self, code: str) -> str:
        """Run a cell; return what it printed."""
        return self.wait(self.client.execute(code))


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT))
    try:
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_strokes_that_wait_do_not_land_on_the_next_page(kernel: Kernel) -> None:
    kernel.run(APP)
    controls = "app.canvas, app.image, app.again"
    canvas, image, again = kernel.run(f"print(*(c.comm.comm_id for c in ({controls})))").split()
    kernel.wait(kernel.event(canvas, {"event": "mouse_down", "x": 9, "y": 9}))
    left = []
    for _ in range(5):
        kernel.wait(kernel.update(image, index=0))
        kernel.wait(kernel.event(again, {"event": "click"}))
        sent = []
        for x in (100, 110, 120, 130):  # four dabs on the empty page ...
            sent += [kernel.event(canvas, {"event": e, "x": x, "y": 100})
                     for e in ("mouse_down", "mouse_up")]  # fmt: skip
        sent.append(kernel.update(image, index=2))  # ... and then another page
        kernel.wait(*sent)
        left.append(int(kernel.run("print(len(app.strokes))")))
    assert left == [0] * 5
