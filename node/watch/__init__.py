"""Watches the deployment: detectors with a stated budget of false alarms, their baselines, and what explains an alarm.

Detectors are pure functions. observe.py reads the audit log in its order, course.py is where one family stands,
normal.py what its baseline says, kinds.py which feature is which channel; watcher.py moves all families on, live
(serve.py) and in a replay. propose.py builds baselines, account.py tells an alarm's story, words.py in words, tell.py
to people; limits.py has fixed limits and silent routes, stop_rule.py what follows when calibration breaks.

channels.py turns one observation into e-values by the tables of bets.py; detector.py adds them up; family.py weighs
the channels of one model at one site against one threshold. baseline.py holds what is normal; embedding.py bets on
vectors; bootstrap.py raises the threshold where days cluster. power.py says what a channel can see, calibration.py bets
on what labels and probabilities tell, attribution.py says what changed, since when, and on which device. concord.py
turns labels and reviews of the log into observations; performance.py has the statistics of performance that people
read.
"""
