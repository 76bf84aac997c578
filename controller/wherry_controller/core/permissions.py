"""Who may call what: one table, and what is not in it is denied."""

from enum import IntEnum
from typing import Final


class Role(IntEnum):
    """An operator's role; a higher one includes the lower ones."""

    VIEWER = 1
    OPERATOR = 2
    APPROVER = 3
    ADMIN = 4


# Operation (the OpenAPI operation id of an endpoint) -> the lowest role that may call it.
PERMISSIONS: Final[dict[str, Role]] = {
    "status": Role.VIEWER,
    "whoami": Role.VIEWER,
    "operators.list": Role.ADMIN,
    "operators.add": Role.ADMIN,
    "operators.disable": Role.ADMIN,
    "classes.list": Role.VIEWER,
    "classes.show": Role.VIEWER,
    "classes.put": Role.ADMIN,
    "devices.list": Role.VIEWER,
    "devices.show": Role.VIEWER,
    "devices.enroll": Role.ADMIN,
    "devices.configure": Role.OPERATOR,
    "devices.isolate": Role.OPERATOR,
    "devices.release": Role.OPERATOR,
    "devices.ask": Role.OPERATOR,
    "devices.revoke": Role.ADMIN,
    "bundles.list": Role.VIEWER,
    "bundles.show": Role.VIEWER,
    "bundles.compatibility": Role.VIEWER,
    "bundles.gates": Role.VIEWER,
    "bundles.push": Role.OPERATOR,
    "bundles.pull": Role.VIEWER,
    "groups.list": Role.VIEWER,
    "groups.show": Role.VIEWER,
    "groups.create": Role.OPERATOR,
    "groups.delete": Role.OPERATOR,
    "versions.stages": Role.VIEWER,
    "versions.history": Role.VIEWER,
    "versions.promote": Role.OPERATOR,
    "versions.approve": Role.APPROVER,
    "versions.reject": Role.APPROVER,
    "versions.archive": Role.APPROVER,
    "versions.pin": Role.OPERATOR,
    "versions.unpin": Role.OPERATOR,
    "retention.show": Role.VIEWER,
    "retention.set": Role.ADMIN,
    "retention.run": Role.ADMIN,
    "rollouts.create": Role.OPERATOR,
    "rollouts.preview": Role.VIEWER,
    "rollouts.list": Role.VIEWER,
    "rollouts.show": Role.VIEWER,
    "rollouts.watch": Role.VIEWER,
    "rollouts.explain": Role.VIEWER,
    "rollouts.shadow": Role.VIEWER,
    "rollouts.experiment": Role.VIEWER,
    "rollouts.checks": Role.VIEWER,
    "rollouts.approve": Role.APPROVER,
    "rollouts.pause": Role.OPERATOR,
    "rollouts.resume": Role.OPERATOR,
    "rollouts.abort": Role.OPERATOR,
    "rollouts.revert": Role.OPERATOR,
    "rollouts.widen": Role.OPERATOR,
    "rollouts.advance": Role.APPROVER,
    "rollouts.switch": Role.OPERATOR,
    "rollouts.decommission": Role.OPERATOR,
    "rollback": Role.OPERATOR,
    "verifications.start": Role.OPERATOR,
    "verifications.list": Role.VIEWER,
    "verifications.show": Role.VIEWER,
    "stop": Role.OPERATOR,
    "telemetry.list": Role.VIEWER,
    "telemetry.tail": Role.VIEWER,
    "performance.list": Role.VIEWER,
    "events.list": Role.VIEWER,
    "custom_metrics.push": Role.OPERATOR,
    "custom_metrics.list": Role.VIEWER,
    "notices.list": Role.VIEWER,
    "alerts.list": Role.VIEWER,
    "alerts.show": Role.VIEWER,
    "alerts.watch": Role.VIEWER,
    "alerts.explain": Role.VIEWER,
    "monitoring": Role.VIEWER,
    "reports.fleet": Role.VIEWER,
    "reports.kept": Role.VIEWER,
    "reports.watched": Role.VIEWER,
    "alerts.acknowledge": Role.OPERATOR,
    "alerts.resolve": Role.OPERATOR,
    "alerts.test": Role.OPERATOR,
    "baselines.list": Role.VIEWER,
    "baselines.show": Role.VIEWER,
    "baselines.record": Role.OPERATOR,
    "baselines.import": Role.OPERATOR,
    "baselines.preview": Role.VIEWER,
    "baselines.apply": Role.OPERATOR,
    "baselines.revert": Role.OPERATOR,
    "baselines.changes": Role.VIEWER,
    "compare": Role.VIEWER,
    "analyze": Role.VIEWER,
    "routes.list": Role.VIEWER,
    "routes.test": Role.OPERATOR,
    "deliveries.list": Role.VIEWER,
    "deliveries.show": Role.VIEWER,
    "deliveries.resend": Role.OPERATOR,
    "audit.log": Role.VIEWER,
    "audit.verify": Role.VIEWER,
    "roots.publish": Role.ADMIN,
    "backup": Role.ADMIN,
    "doctor": Role.VIEWER,
    "metrics": Role.VIEWER,
}


def may(role: Role, operation: str) -> bool:
    """Default deny: an operation that the table does not name is for nobody."""
    needed = PERMISSIONS.get(operation)
    return needed is not None and role >= needed
