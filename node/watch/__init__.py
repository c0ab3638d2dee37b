"""Watches the deployment: detectors with a stated budget of false alarms, their baselines, and what explains an alarm.

So far this is a library of pure functions. Nothing in it reads the database or runs by itself yet.

channels.py turns one observation into e-values by the tables of bets.py; detector.py adds them up; family.py weighs
the channels of one model at one site against one threshold. baseline.py holds what is normal; embedding.py bets on
vectors; bootstrap.py raises the threshold where days cluster. power.py says what a channel can see, calibration.py what
labels and calibrated probabilities tell, attribution.py what changed, since when, and on which device. concord.py turns
labels and reviews of the log into observations; performance.py has the statistics of performance that people read.
"""
